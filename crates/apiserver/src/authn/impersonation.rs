//! Acting as someone else with `Impersonate-*` headers, where the sender is allowed to.
//!
//! Source: "User impersonation". Deliberately absent: constrained impersonation (KEP-5284).

use super::front_proxy::extra;
use super::{AUTHENTICATED, UNAUTHENTICATED};
use crate::authz;
use crate::contract::{Attributes, Context, UserInfo};
use http::HeaderMap;
use machinery::Status;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the headers ask for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    user: String,
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

/// The identity that the request asks to act as; `None` without such headers. 403 when `user` may not, 500 when
/// the headers name no user (upstream's answer).
pub async fn impersonate(
    context: &Context,
    headers: &HeaderMap,
    user: &Arc<UserInfo>,
) -> Result<Option<UserInfo>, Status> {
    let Some(wanted) = read(headers)? else { return Ok(None) };
    for attributes in checks(&wanted, user) {
        authz::check(context, &attributes).await?;
    }
    Ok(Some(become_them(wanted)))
}

fn read(headers: &HeaderMap) -> Result<Option<Wanted>, Status> {
    let texts = |name: &str| {
        headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).map(str::to_owned).collect::<Vec<_>>()
    };
    let first = |name: &str| texts(name).into_iter().next().unwrap_or_default();
    let wanted = Wanted {
        user: first("impersonate-user"),
        uid: first("impersonate-uid"),
        groups: texts("impersonate-group"),
        extra: extra(headers, "impersonate-extra-"),
    };
    if wanted == Wanted::default() {
        return Ok(None);
    }
    if wanted.user.is_empty() {
        return Err(Status::internal("requested groups, uid or extra without impersonating a user"));
    }
    Ok(Some(wanted))
}

fn service_account(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix("system:serviceaccount:")?.split_once(':')
}

fn checks(wanted: &Wanted, user: &Arc<UserInfo>) -> Vec<Attributes> {
    let ask = |group: &'static str, resource: &'static str, name: &str| Attributes {
        user: user.clone(),
        verb: "impersonate".into(),
        resource_request: true,
        group: group.into(),
        version: "v1".into(),
        resource: resource.into(),
        name: name.to_owned(),
        ..Attributes::default()
    };
    let mut all = vec![match service_account(&wanted.user) {
        Some((namespace, name)) => {
            Attributes { namespace: namespace.to_owned(), ..ask("", "serviceaccounts", name) }
        }
        None => ask("", "users", &wanted.user),
    }];
    all.extend(wanted.groups.iter().map(|group| ask("", "groups", group)));
    if !wanted.uid.is_empty() {
        all.push(ask("authentication.k8s.io", "uids", &wanted.uid));
    }
    for (key, values) in &wanted.extra {
        all.extend(values.iter().map(|value| Attributes {
            subresource: key.clone().into(),
            ..ask("authentication.k8s.io", "userextras", value)
        }));
    }
    all
}

fn become_them(wanted: Wanted) -> UserInfo {
    let mut groups = wanted.groups;
    if groups.is_empty()
        && let Some((namespace, _)) = service_account(&wanted.user)
    {
        groups = super::service_account::groups(namespace);
    }
    let everyone = if wanted.user == "system:anonymous" { UNAUTHENTICATED } else { AUTHENTICATED };
    if !groups.iter().any(|group| group == AUTHENTICATED || group == UNAUTHENTICATED) {
        groups.push(everyone.to_owned());
    }
    UserInfo { name: wanted.user, uid: wanted.uid, groups, extra: wanted.extra }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_checked_and_service_accounts_get_their_groups() {
        let mut headers = HeaderMap::new();
        assert_eq!(read(&headers).unwrap(), None);
        headers.insert("impersonate-group", "g".parse().unwrap());
        assert_eq!(read(&headers).unwrap_err().code, 500);
        headers.insert("impersonate-user", "system:serviceaccount:a:b".parse().unwrap());
        headers.insert("impersonate-extra-scope", "s".parse().unwrap());
        headers.insert("impersonate-uid", "u".parse().unwrap());
        let wanted = read(&headers).unwrap().unwrap();
        let asked: Vec<String> = checks(&wanted, &Arc::default())
            .iter()
            .map(|a| format!("{}/{}/{} {}", a.namespace, a.resource, a.subresource, a.name))
            .collect();
        assert_eq!(asked, ["a/serviceaccounts/ b", "/groups/ g", "/uids/ u", "/userextras/scope s"]);
        headers.remove("impersonate-group");
        let user = become_them(read(&headers).unwrap().unwrap());
        assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:a", AUTHENTICATED]);
    }
}
