//! What a container may do: capabilities and the system-call filter.

use cri::v1;
use linux::capability::{Set, Sets};
use linux::seccomp::{Filter, Profile, default_profile};
use linux::{Error, Result};
use std::path::Path;

/// What containers get unless told otherwise.
const DEFAULT: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// The capability sets of a container.
pub(super) fn capabilities(security: &v1::LinuxContainerSecurityContext) -> Result<Sets> {
    let own = Set::permitted()?;
    if security.privileged {
        return Ok(Sets {
            bounding: own,
            permitted: own,
            inheritable: Set::default(),
            ambient: Set::default(),
        });
    }
    let empty = v1::Capability::default();
    let wish = security.capabilities.as_ref().unwrap_or(&empty);
    let is_all = |name: &&String| name.eq_ignore_ascii_case("ALL") || name.eq_ignore_ascii_case("CAP_ALL");
    let set = |names: &[String]| -> Result<Set> {
        let named = Set::of(names.iter().filter(|name| !is_all(name)).map(String::as_str))?;
        Ok(if names.iter().any(|name| is_all(&name)) { named.union(own) } else { named })
    };
    let named = |names: &[String]| Set::of(names.iter().filter(|name| !is_all(name)).map(String::as_str));
    let mut held = Set::of(DEFAULT)?.intersection(own);
    // "ALL" on either side first, so that names make exceptions from it.
    if wish.add_capabilities.iter().any(|name| is_all(&name)) {
        held = own;
    }
    if wish.drop_capabilities.iter().any(|name| is_all(&name)) {
        held = Set::default();
    }
    let ambient = set(&wish.add_ambient_capabilities)?;
    held = held.union(named(&wish.add_capabilities)?).union(ambient).without(named(&wish.drop_capabilities)?);
    let ambient = ambient.intersection(held);
    Ok(Sets { bounding: held, permitted: held, inheritable: ambient, ambient })
}

/// The filter of a container; `None` when it runs without.
pub(super) fn filter(security: &v1::LinuxContainerSecurityContext) -> Result<Option<Filter>> {
    if security.privileged {
        return Ok(None);
    }
    let profile = match profile(security)? {
        None => return Ok(None),
        Some(profile) => profile,
    };
    let held = capabilities(security)?.bounding;
    Filter::compile(&profile.resolved(held)).map(Some)
}

#[allow(deprecated)] // Old kubelets say it in the old field.
fn profile(security: &v1::LinuxContainerSecurityContext) -> Result<Option<Profile>> {
    use v1::security_profile::ProfileType;
    if let Some(wish) = &security.seccomp {
        return match wish.profile_type() {
            ProfileType::RuntimeDefault => Ok(Some(default_profile())),
            ProfileType::Unconfined => Ok(None),
            ProfileType::Localhost => Profile::load(Path::new(&wish.localhost_ref)).map(Some),
        };
    }
    match security.seccomp_profile_path.as_str() {
        "" | "unconfined" => Ok(None),
        "runtime/default" | "docker/default" => Ok(Some(default_profile())),
        other => match other.strip_prefix("localhost/") {
            Some(path) => Profile::load(Path::new(path)).map(Some),
            None => Err(Error::refused(format!("use seccomp profile {other:?}"), "there is no such profile")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_taken_first_and_names_are_exceptions() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped all_is_taken_first_and_names_are_exceptions: needs root's capabilities");
            return;
        }
        let of = |add: &[&str], drop: &[&str]| {
            let words = |all: &[&str]| all.iter().map(|word| (*word).to_owned()).collect();
            let capabilities = v1::Capability {
                add_capabilities: words(add),
                drop_capabilities: words(drop),
                ..Default::default()
            };
            let security =
                v1::LinuxContainerSecurityContext { capabilities: Some(capabilities), ..Default::default() };
            super::capabilities(&security).unwrap().permitted.names().collect::<Vec<_>>()
        };
        assert_eq!(of(&["NET_BIND_SERVICE"], &["ALL"]), ["NET_BIND_SERVICE"]);
        assert!(
            of(&["ALL"], &["CHOWN"]).contains(&"SYS_ADMIN") && !of(&["ALL"], &["CHOWN"]).contains(&"CHOWN")
        );
        assert!(!of(&[], &["NET_RAW"]).contains(&"NET_RAW") && of(&[], &[]).contains(&"NET_RAW"));
    }
}
