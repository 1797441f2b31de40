//! Security contexts of pods and containers as the runtime takes them. Pure.

use crate::spec;
use api::k8s_openapi::api::core::v1::{
    AppArmorProfile, Container, Pod, PodSecurityContext, SELinuxOptions, SeccompProfile, SecurityContext,
};
use cri::v1;
use std::path::Path;

const MASKED: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What the node adds to the pod's wishes.
pub(crate) struct Defaults<'a> {
    /// Profile of pods that name none: `RuntimeDefault` when true, unconfined otherwise.
    pub(crate) seccomp: bool,
    /// Directory that `localhostProfile` names are relative to.
    pub(crate) seccomp_dir: &'a Path,
}

fn profile(kind: v1::security_profile::ProfileType, localhost: String) -> v1::SecurityProfile {
    v1::SecurityProfile { profile_type: kind as i32, localhost_ref: localhost }
}

fn seccomp(
    pod: Option<&SeccompProfile>,
    container: Option<&SeccompProfile>,
    privileged: bool,
    defaults: &Defaults<'_>,
) -> v1::SecurityProfile {
    use v1::security_profile::ProfileType;
    let chosen = container.or(pod);
    match chosen.map(|p| p.type_.as_str()) {
        _ if privileged => profile(ProfileType::Unconfined, String::new()),
        Some("RuntimeDefault") => profile(ProfileType::RuntimeDefault, String::new()),
        Some("Localhost") => {
            let name = chosen.and_then(|p| p.localhost_profile.as_deref()).unwrap_or_default();
            profile(ProfileType::Localhost, defaults.seccomp_dir.join(name).display().to_string())
        }
        None if defaults.seccomp => profile(ProfileType::RuntimeDefault, String::new()),
        _ => profile(ProfileType::Unconfined, String::new()),
    }
}

fn apparmor(chosen: Option<&AppArmorProfile>) -> Option<v1::SecurityProfile> {
    use v1::security_profile::ProfileType;
    let chosen = chosen?;
    Some(match chosen.type_.as_str() {
        "RuntimeDefault" => profile(ProfileType::RuntimeDefault, String::new()),
        "Localhost" => profile(ProfileType::Localhost, chosen.localhost_profile.clone().unwrap_or_default()),
        _ => profile(ProfileType::Unconfined, String::new()),
    })
}

fn selinux(options: Option<&SELinuxOptions>) -> Option<v1::SeLinuxOption> {
    options.map(|o| v1::SeLinuxOption {
        user: o.user.clone().unwrap_or_default(),
        role: o.role.clone().unwrap_or_default(),
        r#type: o.type_.clone().unwrap_or_default(),
        level: o.level.clone().unwrap_or_default(),
    })
}

fn int(value: Option<i64>) -> Option<v1::Int64Value> {
    value.map(|value| v1::Int64Value { value })
}

fn groups(pod: &PodSecurityContext) -> Vec<i64> {
    let mut groups = pod.supplemental_groups.clone().unwrap_or_default();
    groups.extend(pod.fs_group);
    groups
}

fn groups_policy(pod: &PodSecurityContext) -> i32 {
    match pod.supplemental_groups_policy.as_deref() {
        Some("Strict") => v1::SupplementalGroupsPolicy::Strict as i32,
        _ => v1::SupplementalGroupsPolicy::Merge as i32,
    }
}

/// Who shares which namespace; `target` is the id of the container that an ephemeral one looks into.
pub(crate) fn namespaces(pod: &Pod, target: Option<&str>) -> v1::NamespaceOption {
    let s = spec::spec(pod);
    let node_if = |host: Option<bool>, other: v1::NamespaceMode| {
        if host == Some(true) { v1::NamespaceMode::Node as i32 } else { other as i32 }
    };
    let shared = s.share_process_namespace == Some(true);
    let own = if shared { v1::NamespaceMode::Pod } else { v1::NamespaceMode::Container };
    let mut options = v1::NamespaceOption {
        network: node_if(s.host_network, v1::NamespaceMode::Pod),
        ipc: node_if(s.host_ipc, v1::NamespaceMode::Pod),
        pid: node_if(s.host_pid, own),
        ..v1::NamespaceOption::default()
    };
    if let Some(target) = target.filter(|_| options.pid == v1::NamespaceMode::Container as i32) {
        options.pid = v1::NamespaceMode::Target as i32;
        options.target_id = target.to_owned();
    }
    options
}

/// Security context of the sandbox.
pub(crate) fn sandbox(pod: &Pod, defaults: &Defaults<'_>) -> v1::LinuxSandboxSecurityContext {
    let s = spec::spec(pod);
    let context = s.security_context.clone().unwrap_or_default();
    let privileged = spec::all(pod)
        .iter()
        .any(|(_, c)| c.security_context.as_ref().and_then(|s| s.privileged).unwrap_or(false));
    v1::LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(pod, None)),
        selinux_options: selinux(context.se_linux_options.as_ref()),
        run_as_user: int(context.run_as_user),
        run_as_group: int(context.run_as_group.filter(|_| context.run_as_user.is_some())),
        supplemental_groups: groups(&context),
        supplemental_groups_policy: groups_policy(&context),
        privileged,
        // The pause process needs no more than any other.
        seccomp: Some(seccomp(
            context.seccomp_profile.as_ref(),
            None,
            false,
            &Defaults { seccomp: true, ..*defaults },
        )),
        apparmor: apparmor(context.app_armor_profile.as_ref()),
        ..v1::LinuxSandboxSecurityContext::default()
    }
}

/// Who the image's process runs as: a number, or a name that the runtime resolves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ImageUser {
    /// Numeric user.
    pub(crate) uid: Option<i64>,
    /// User by name, empty without one.
    pub(crate) name: String,
}

/// Refuses root where the pod asks for that.
pub(crate) fn check_non_root(pod: &Pod, container: &Container, user: &ImageUser) -> Result<(), String> {
    let context = spec::spec(pod).security_context.clone().unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    if own.run_as_non_root.or(context.run_as_non_root) != Some(true) {
        return Ok(());
    }
    let about = format!("(pod: {:?}, container: {})", spec::describe(pod), container.name);
    match own.run_as_user.or(context.run_as_user) {
        Some(0) => return Err(format!("container's runAsUser breaks non-root policy {about}")),
        Some(_) => return Ok(()),
        None => {}
    }
    match user.uid {
        Some(0) => Err(format!("container has runAsNonRoot and image will run as root {about}")),
        None if user.name.is_empty() => {
            Err(format!("container has runAsNonRoot and image will run as root {about}"))
        }
        None => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({}), cannot verify user is non-root {about}",
            user.name
        )),
        Some(_) => Ok(()),
    }
}

fn capabilities(own: &SecurityContext) -> Option<v1::Capability> {
    own.capabilities.as_ref().map(|c| v1::Capability {
        add_capabilities: c.add.clone().unwrap_or_default(),
        drop_capabilities: c.drop.clone().unwrap_or_default(),
        add_ambient_capabilities: Vec::new(),
    })
}

/// Security context of a container.
pub(crate) fn container(
    pod: &Pod,
    container: &Container,
    user: &ImageUser,
    target: Option<&str>,
    defaults: &Defaults<'_>,
) -> v1::LinuxContainerSecurityContext {
    let context = spec::spec(pod).security_context.clone().unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let privileged = own.privileged.unwrap_or(false);
    let uid = own.run_as_user.or(context.run_as_user);
    let unmasked = own.proc_mount.as_deref() == Some("Unmasked") || privileged;
    let paths = |list: &[&str]| -> Vec<String> {
        if unmasked { Vec::new() } else { list.iter().map(|p| (*p).to_owned()).collect() }
    };
    v1::LinuxContainerSecurityContext {
        capabilities: capabilities(&own),
        privileged,
        namespace_options: Some(namespaces(pod, target)),
        selinux_options: selinux(own.se_linux_options.as_ref().or(context.se_linux_options.as_ref())),
        run_as_user: int(uid.or(user.uid)),
        run_as_username: if uid.or(user.uid).is_none() { user.name.clone() } else { String::new() },
        run_as_group: int(own.run_as_group.or(context.run_as_group)),
        readonly_rootfs: own.read_only_root_filesystem.unwrap_or(false),
        supplemental_groups: groups(&context),
        supplemental_groups_policy: groups_policy(&context),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(MASKED),
        readonly_paths: paths(READ_ONLY),
        seccomp: Some(seccomp(
            context.seccomp_profile.as_ref(),
            own.seccomp_profile.as_ref(),
            privileged,
            defaults,
        )),
        apparmor: apparmor(own.app_armor_profile.as_ref().or(context.app_armor_profile.as_ref())),
        ..v1::LinuxContainerSecurityContext::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::k8s_openapi::api::core::v1::PodSpec;

    #[test]
    fn root_is_refused_where_asked() {
        let context = PodSecurityContext { run_as_non_root: Some(true), ..Default::default() };
        let spec = PodSpec { security_context: Some(context), ..PodSpec::default() };
        let pod = Pod { spec: Some(spec), ..Pod::default() };
        let user = |uid: Option<i64>, name: &str| ImageUser { uid, name: name.to_owned() };
        let plain = Container::default();
        for (user, want) in [
            (user(Some(0), ""), "image will run as root"),
            (user(None, ""), "image will run as root"),
            (user(None, "web"), "non-numeric user (web)"),
        ] {
            assert!(check_non_root(&pod, &plain, &user).unwrap_err().contains(want));
        }
        assert!(check_non_root(&pod, &plain, &user(Some(7), "")).is_ok());
        let root = Container {
            security_context: Some(SecurityContext { run_as_user: Some(0), ..Default::default() }),
            ..Container::default()
        };
        assert!(check_non_root(&pod, &root, &user(Some(7), "")).unwrap_err().contains("breaks non-root"));
    }

    #[test]
    fn privileged_is_unmasked_and_unconfined() {
        use v1::security_profile::ProfileType;
        let defaults = Defaults { seccomp: true, seccomp_dir: Path::new("/s") };
        let make = |own: SecurityContext| {
            let c = Container { security_context: Some(own), ..Container::default() };
            container(&Pod::default(), &c, &ImageUser::default(), None, &defaults)
        };
        let plain = make(SecurityContext::default());
        assert_eq!(plain.seccomp.unwrap().profile_type, ProfileType::RuntimeDefault as i32);
        assert!(!plain.masked_paths.is_empty());
        let all = make(SecurityContext { privileged: Some(true), ..Default::default() });
        assert_eq!(all.seccomp.unwrap().profile_type, ProfileType::Unconfined as i32);
        assert!(all.masked_paths.is_empty() && all.readonly_paths.is_empty());
    }
}
