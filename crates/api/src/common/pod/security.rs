//! Security contexts of pods and containers.

use crate::common::{items, names, text};
use k8s_openapi::api::core::v1::*;
use machinery::{FieldErrors, FieldPath};
use serde_json::json;

fn id(id: Option<i64>, path: FieldPath, errors: &mut FieldErrors) {
    if let Some(id) = id
        && !(0..=i64::from(i32::MAX)).contains(&id)
    {
        errors.invalid(path, id, names::inclusive_range(0, i64::from(i32::MAX)));
    }
}

/// Reports a bad pod security context at `path`.
pub(super) fn pod(context: &PodSecurityContext, path: &FieldPath, errors: &mut FieldErrors) {
    id(context.fs_group, path.child("fsGroup"), errors);
    id(context.run_as_user, path.child("runAsUser"), errors);
    id(context.run_as_group, path.child("runAsGroup"), errors);
    for (at, group) in items(&context.supplemental_groups).iter().enumerate() {
        id(Some(*group), path.child("supplementalGroups").index(at), errors);
    }
    for (at, sysctl) in items(&context.sysctls).iter().enumerate() {
        let at = path.child("sysctls").index(at).child("name");
        if sysctl.name.is_empty() {
            errors.required(at, "");
        } else if sysctl.name.len() > 253 || !is_sysctl(&sysctl.name) {
            errors.invalid(
                at,
                &sysctl.name,
                "must have at most 253 characters and match regex \
                 ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$",
            );
        }
    }
    one_of(
        &context.fs_group_change_policy,
        &["Always", "OnRootMismatch"],
        path.child("fsGroupChangePolicy"),
        errors,
    );
    one_of(
        &context.supplemental_groups_policy,
        &["Merge", "Strict"],
        path.child("supplementalGroupsPolicy"),
        errors,
    );
    seccomp(&context.seccomp_profile, &path.child("seccompProfile"), errors);
    app_armor(&context.app_armor_profile, &path.child("appArmorProfile"), errors);
    super::windows::validate(&context.windows_options, &path.child("windowsOptions"), errors);
}

fn is_sysctl(name: &str) -> bool {
    name.split(['.', '/']).all(|part| {
        let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = part.as_bytes();
        bytes.first().is_some_and(alphanumeric)
            && bytes.last().is_some_and(alphanumeric)
            && bytes.iter().all(|b| alphanumeric(b) || b"-_".contains(b))
    })
}

fn one_of(value: &Option<String>, allowed: &[&str], path: FieldPath, errors: &mut FieldErrors) {
    if let Some(value) = value
        && !allowed.contains(&value.as_str())
    {
        errors.not_supported(path, value, allowed);
    }
}

fn seccomp(profile: &Option<SeccompProfile>, path: &FieldPath, errors: &mut FieldErrors) {
    const TYPES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];
    let Some(profile) = profile else { return };
    let at = path.child("localhostProfile");
    match (profile.type_.as_str(), &profile.localhost_profile) {
        ("", _) => errors.required(path.child("type"), "type is required when seccompProfile is set"),
        ("Localhost", None) => errors.required(at, "must be set when seccomp type is Localhost "),
        ("Localhost", Some(file)) => super::volume_sources::descending(file, at, errors),
        (kind, Some(file)) if TYPES.contains(&kind) => {
            errors.invalid(at, file, "can only be set when seccomp type is Localhost");
        }
        (kind, _) if !TYPES.contains(&kind) => errors.not_supported(path.child("type"), kind, TYPES),
        _ => {}
    }
}

fn app_armor(profile: &Option<AppArmorProfile>, path: &FieldPath, errors: &mut FieldErrors) {
    const TYPES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];
    let Some(profile) = profile else { return };
    let at = path.child("localhostProfile");
    match (profile.type_.as_str(), &profile.localhost_profile) {
        ("", _) => errors.required(path.child("type"), "type is required when appArmorProfile is set"),
        ("Localhost", None) => errors.required(at, "must be set when AppArmor type is Localhost"),
        ("Localhost", Some(_)) => {}
        (kind, Some(file)) if TYPES.contains(&kind) => {
            errors.invalid(at, file, "can only be set when AppArmor type is Localhost");
        }
        (kind, _) if !TYPES.contains(&kind) => errors.not_supported(path.child("type"), kind, TYPES),
        _ => {}
    }
}

/// Reports a bad container security context at `path`.
pub(super) fn container(context: &SecurityContext, path: &FieldPath, errors: &mut FieldErrors) {
    id(context.run_as_user, path.child("runAsUser"), errors);
    id(context.run_as_group, path.child("runAsGroup"), errors);
    one_of(&context.proc_mount, &["Default", "Unmasked"], path.child("procMount"), errors);
    seccomp(&context.seccomp_profile, &path.child("seccompProfile"), errors);
    app_armor(&context.app_armor_profile, &path.child("appArmorProfile"), errors);
    super::windows::validate(&context.windows_options, &path.child("windowsOptions"), errors);
    if context.allow_privilege_escalation != Some(false) {
        return;
    }
    if context.privileged == Some(true) {
        errors.invalid(
            path.clone(),
            json!({"privileged": true, "allowPrivilegeEscalation": false}),
            "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
        );
    }
    let added = context.capabilities.as_ref().map(|c| items(&c.add)).unwrap_or_default();
    if added.iter().any(|capability| capability == "CAP_SYS_ADMIN") {
        errors.invalid(
            path.clone(),
            json!({"capabilities": {"add": added}, "allowPrivilegeEscalation": false}),
            "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
        );
    }
}

/// Reports what a pod may not share at once.
pub(super) fn sharing(spec: &PodSpec, path: &FieldPath, errors: &mut FieldErrors) {
    if spec.host_pid == Some(true) && spec.share_process_namespace == Some(true) {
        errors.invalid(
            path.child("shareProcessNamespace"),
            true,
            "ShareProcessNamespace and HostPID cannot both be enabled",
        );
    }
    if spec.host_users == Some(false) {
        for (field, set) in
            [("hostNetwork", spec.host_network), ("hostPID", spec.host_pid), ("hostIPC", spec.host_ipc)]
        {
            if set == Some(true) {
                errors.forbidden(path.child("hostUsers"), format!("when {field} is true"));
            }
        }
    }
    let name = text(&spec.runtime_class_name);
    if !name.is_empty() {
        let at = path.child("runtimeClassName");
        names::report(at, name, names::dns1123_subdomain(name), errors);
    }
}
