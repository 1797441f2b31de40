//! Rules that the statuses of several kinds share: counts, conditions, load balancers.

use super::{names, net, text};
use k8s_openapi::api::core::v1::LoadBalancerIngress;
use machinery::{FieldErrors, FieldPath};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Reports negative counts of `status`.
pub fn counts<T: Into<i64> + Copy>(counts: &[(&str, Option<T>)], errors: &mut FieldErrors) {
    for (field, count) in counts {
        super::numbers::optional_not_negative(*count, FieldPath::new("status").child(field), errors);
    }
}

/// Reports counts of `status` that are larger than `limit`, which messages call `of`.
pub fn at_most(counts: &[(&str, Option<i32>)], limit: i32, of: &str, errors: &mut FieldErrors) {
    for (field, count) in counts {
        if let Some(count) = count.filter(|count| *count > limit) {
            let at = FieldPath::new("status").child(field);
            errors.invalid(at, count, format!("cannot be greater than {of}"));
        }
    }
}

/// Reports a count of collisions that went back.
pub fn collisions(new: Option<i32>, old: Option<i32>, errors: &mut FieldErrors) {
    let Some(was) = old else { return };
    let now = new.unwrap_or(-1);
    if now < was {
        let at = FieldPath::new("status").child("collisionCount");
        let printed = new.map_or(serde_json::Value::Null, Into::into);
        errors.invalid(at, printed, "cannot be decremented");
    }
}

/// Reports conditions without a type, and types that occur twice.
pub fn condition_types<'a>(types: impl Iterator<Item = &'a str>, errors: &mut FieldErrors) {
    let mut seen = BTreeSet::new();
    for (at, kind) in types.enumerate() {
        let at = FieldPath::new("status").child("conditions").index(at).child("type");
        if kind.is_empty() {
            errors.required(at, "must not be empty");
        } else if !seen.insert(kind) {
            errors.duplicate(at, kind);
        }
    }
}

/// Reports bad entries of a load balancer.
pub fn balancer(ingress: &[LoadBalancerIngress], errors: &mut FieldErrors) {
    let path = FieldPath::new("status").child("loadBalancer").child("ingress");
    for (at, entry) in ingress.iter().enumerate() {
        let at = path.index(at);
        let (ip, mode) = (text(&entry.ip), text(&entry.ip_mode));
        if !ip.is_empty() {
            net::ip(ip, at.child("ip"), errors);
        }
        let mode_at = at.child("ipMode");
        match (ip, mode) {
            ("", "") => {}
            (ip, "VIP" | "Proxy") if !ip.is_empty() => {}
            ("", _) => errors.forbidden(mode_at, "may not be specified when `ip` is not set"),
            (_, "") => errors.required(mode_at, "must be specified when `ip` is set"),
            (_, other) => errors.not_supported(mode_at, other, &["Proxy", "VIP"]),
        }
        host(text(&entry.hostname), &at, errors);
    }
}

/// Reports the host name of an entry of a load balancer that is none.
pub fn host(name: &str, entry: &FieldPath, errors: &mut FieldErrors) {
    if name.is_empty() {
        return;
    }
    let at = entry.child("hostname");
    names::report(at.clone(), name, names::dns1123_subdomain(name), errors);
    if name.parse::<IpAddr>().is_ok() {
        errors.invalid(at, name, "must be a DNS name, not an IP address");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::items;

    #[test]
    fn entries_of_load_balancers() {
        let entry = |ip: &str, mode: Option<&str>, host: &str| LoadBalancerIngress {
            ip: (!ip.is_empty()).then(|| ip.to_owned()),
            ip_mode: mode.map(str::to_owned),
            hostname: (!host.is_empty()).then(|| host.to_owned()),
            ..LoadBalancerIngress::default()
        };
        let list = Some(vec![
            entry("10.0.0.1", Some("VIP"), ""),
            entry("", None, "a.example.com"),
            entry("", Some("VIP"), ""),
            entry("10.0.0.1", Some("X"), ""),
            entry("", None, "10.0.0.1"),
        ]);
        let mut errors = FieldErrors::new();
        balancer(items(&list), &mut errors);
        let found: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
        let at = "status.loadBalancer.ingress";
        assert_eq!(
            found,
            [
                format!("{at}[2].ipMode: Forbidden: may not be specified when `ip` is not set"),
                format!("{at}[3].ipMode: Unsupported value: \"X\": supported values: \"Proxy\", \"VIP\""),
                format!(
                    "{at}[4].hostname: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address"
                ),
            ]
        );
    }
}
