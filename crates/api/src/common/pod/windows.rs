//! `windowsOptions` of security contexts, and what an operating system rules out of a pod.

use crate::common::{items, names, text};
use k8s_openapi::api::core::v1::{PodSpec, SecurityContext, WindowsSecurityContextOptions};
use machinery::{FieldErrors, FieldPath};

const MAX_SPEC: usize = 64 * 1024;
const MAX_DOMAIN: usize = 256;
const MAX_USER: usize = 104;
/// Characters that user names may not have.
const FORBIDDEN: &str = "\"/\\:;|=,+*?<>@[]";

/// Reports bad options at `path`.
pub(super) fn validate(
    options: &Option<WindowsSecurityContextOptions>,
    path: &FieldPath,
    errors: &mut FieldErrors,
) {
    let Some(options) = options else { return };
    if let Some(name) = &options.gmsa_credential_spec_name {
        names::report(path.child("gmsaCredentialSpecName"), name, names::dns1123_subdomain(name), errors);
    }
    if let Some(spec) = &options.gmsa_credential_spec {
        let at = path.child("gmsaCredentialSpec");
        if spec.is_empty() {
            errors.invalid(at, spec, "gmsaCredentialSpec cannot be an empty string");
        } else if spec.len() > MAX_SPEC {
            errors.invalid(
                at,
                spec,
                format!("gmsaCredentialSpec size must be under {} KiB", MAX_SPEC / 1024),
            );
        }
    }
    if let Some(name) = &options.run_as_user_name
        && let Err(why) = user(name)
    {
        errors.invalid(path.child("runAsUserName"), name, why);
    }
}

fn user(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("runAsUserName cannot be an empty string".to_owned());
    }
    if name.chars().any(char::is_control) {
        return Err("runAsUserName cannot contain control characters".to_owned());
    }
    let (domain, user) = match name.split('\\').collect::<Vec<_>>().as_slice() {
        [user] => (None, *user),
        [domain, user] => (Some(*domain), *user),
        _ => return Err("runAsUserName cannot contain more than one backslash".to_owned()),
    };
    if let Some(domain) = domain {
        if domain.len() >= MAX_DOMAIN {
            return Err(format!("runAsUserName's Domain length must be under {MAX_DOMAIN} characters"));
        }
        let net_bios = !domain.is_empty()
            && domain.len() <= 15
            && !domain.starts_with('.')
            && !domain.contains(|c: char| "\\/:*?\"<>|".contains(c));
        if !net_bios && !names::dns1123_subdomain(&domain.to_lowercase()).is_empty() {
            return Err("runAsUserName's Domain doesn't match the NetBios nor the DNS format".to_owned());
        }
    }
    if user.is_empty() {
        return Err("runAsUserName's User cannot be empty".to_owned());
    }
    if user.len() > MAX_USER {
        return Err(format!("runAsUserName's User length must not be longer than {MAX_USER} characters"));
    }
    if user.chars().all(|c| c == '.' || c == ' ') {
        return Err("runAsUserName's User cannot contain only periods or spaces".to_owned());
    }
    if user.contains(|c: char| FORBIDDEN.contains(c)) {
        return Err(format!("runAsUserName's User cannot contain the following characters: {FORBIDDEN}"));
    }
    Ok(())
}

fn contexts<'a>(spec: &'a PodSpec, path: &FieldPath) -> Vec<(FieldPath, Option<&'a SecurityContext>)> {
    let of = |field: &str, list: &'a [k8s_openapi::api::core::v1::Container]| {
        let path = path.child(field);
        list.iter()
            .enumerate()
            .map(move |(at, c)| (path.index(at).child("securityContext"), c.security_context.as_ref()))
    };
    of("initContainers", items(&spec.init_containers)).chain(of("containers", &spec.containers)).collect()
}

/// Reports a pod some of whose containers run as processes of a Windows host, but not all.
pub(super) fn host_process(spec: &PodSpec, path: &FieldPath, errors: &mut FieldErrors) {
    let pod = spec.security_context.as_ref().and_then(|context| context.windows_options.as_ref());
    let for_all = pod.and_then(|options| options.host_process);
    let own =
        |context: &Option<&SecurityContext>| context.and_then(|c| c.windows_options.as_ref()?.host_process);
    let all: Vec<bool> =
        contexts(spec, path).iter().map(|(_, context)| own(context).or(for_all) == Some(true)).collect();
    if !all.contains(&true) {
        return;
    }
    if all.contains(&false) {
        errors.invalid(
            path.clone(),
            "",
            "If pod contains any hostProcess containers then all containers must be HostProcess containers",
        );
    }
    if spec.host_network != Some(true) {
        let at = path.child("hostNetwork");
        errors.invalid(at, false, "hostNetwork must be true if pod contains any hostProcess containers");
    }
}

/// Reports what the pod's operating system does not know.
pub(super) fn fits_system(spec: &PodSpec, path: &FieldPath, errors: &mut FieldErrors) {
    let pod = spec.security_context.as_ref();
    match spec.os.as_ref().map(|os| os.name.as_str()) {
        Some("linux") => {
            const WHY: &str = "windows options cannot be set for a linux pod";
            if pod.is_some_and(|context| context.windows_options.is_some()) {
                errors.forbidden(path.child("securityContext").child("windowsOptions"), WHY);
            }
            for (at, context) in contexts(spec, path) {
                if context.is_some_and(|context| context.windows_options.is_some()) {
                    errors.forbidden(at.child("windowsOptions"), WHY);
                }
            }
        }
        Some("windows") => {
            const WHY: &str = "cannot be set for a windows pod";
            for (field, set) in [
                ("hostPID", spec.host_pid == Some(true)),
                ("hostIPC", spec.host_ipc == Some(true)),
                ("hostUsers", spec.host_users.is_some()),
                ("shareProcessNamespace", spec.share_process_namespace == Some(true)),
            ] {
                if set {
                    errors.forbidden(path.child(field), WHY);
                }
            }
            if let Some(context) = pod {
                for (field, set) in [
                    ("appArmorProfile", context.app_armor_profile.is_some()),
                    ("seLinuxOptions", context.se_linux_options.is_some()),
                    ("seccompProfile", context.seccomp_profile.is_some()),
                    ("fsGroup", context.fs_group.is_some()),
                    ("fsGroupChangePolicy", context.fs_group_change_policy.is_some()),
                    ("sysctls", !items(&context.sysctls).is_empty()),
                    ("runAsUser", context.run_as_user.is_some()),
                    ("runAsGroup", context.run_as_group.is_some()),
                    ("supplementalGroups", context.supplemental_groups.is_some()),
                    ("supplementalGroupsPolicy", !text(&context.supplemental_groups_policy).is_empty()),
                ] {
                    if set {
                        errors.forbidden(path.child("securityContext").child(field), WHY);
                    }
                }
            }
            for (at, context) in contexts(spec, path) {
                let Some(context) = context else { continue };
                for (field, set) in [
                    ("appArmorProfile", context.app_armor_profile.is_some()),
                    ("seLinuxOptions", context.se_linux_options.is_some()),
                    ("seccompProfile", context.seccomp_profile.is_some()),
                    ("capabilities", context.capabilities.is_some()),
                    ("readOnlyRootFilesystem", context.read_only_root_filesystem.is_some()),
                    ("privileged", context.privileged.is_some()),
                    ("allowPrivilegeEscalation", context.allow_privilege_escalation.is_some()),
                    ("procMount", context.proc_mount.is_some()),
                    ("runAsUser", context.run_as_user.is_some()),
                    ("runAsGroup", context.run_as_group.is_some()),
                ] {
                    if set {
                        errors.forbidden(at.child(field), WHY);
                    }
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::user;

    #[test]
    fn names_of_windows_users() {
        for good in ["Container User", "CONTOSO\\svc", "a.example.com\\u", "NT AUTHORITY\\SYSTEM"] {
            assert_eq!(user(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("", "empty string"),
            ("a\tb", "control characters"),
            ("a\\b\\c", "more than one backslash"),
            ("a\\", "User cannot be empty"),
            ("..", "only periods or spaces"),
            ("a+b", "following characters"),
            ("..x|y\\a", "NetBios nor the DNS"),
        ] {
            assert!(user(bad).is_err_and(|found| found.contains(why)), "{bad}: {:?}", user(bad));
        }
    }
}
