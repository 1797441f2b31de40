//! The level *baseline*: nothing that is known to lead out of a container.

use super::policy::Level;
use super::violations::{View, Violations, quoted, views};
use api::common::{items, text};
use api::k8s_openapi::api::core::v1::{AppArmorProfile, LifecycleHandler, PodSpec, Probe, SELinuxOptions};

/// Capabilities that may be added.
const CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
const SYSCTLS: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];
const SELINUX_TYPES: &[&str] =
    &["", "container_engine_t", "container_init_t", "container_kvm_t", "container_t"];

/// Adds what breaks the level. What *restricted* judges more strictly itself is left to it.
pub(super) fn check(spec: &PodSpec, level: Level, found: &mut Violations) {
    let containers = views(spec);
    let names = |bad: fn(&View<'_>) -> bool| -> Vec<&str> {
        containers.iter().filter(|c| bad(c)).map(|c| c.name).collect()
    };
    app_armor(spec, &containers, found);
    if level == Level::Baseline {
        capabilities(&containers, found);
    }
    host_namespaces(spec, found);
    if level == Level::Baseline {
        let paths: Vec<&str> =
            items(&spec.volumes).iter().filter(|v| v.host_path.is_some()).map(|v| v.name.as_str()).collect();
        if !paths.is_empty() {
            let word = if paths.len() == 1 { "volume" } else { "volumes" };
            found.add("hostPath volumes", format!("{word} {}", quoted(&paths)));
        }
    }
    host_ports(&containers, found);
    probe_hosts(&containers, found);
    let privileged = names(|c| c.security.is_some_and(|s| s.privileged == Some(true)));
    found.containers("privileged", &privileged, "must not set securityContext.privileged=true");
    proc_mount(spec, &containers, found);
    se_linux(spec, &containers, found);
    if level == Level::Baseline {
        seccomp(spec, &containers, found);
    }
    let security = spec.security_context.as_ref();
    let sysctls: Vec<&str> = security
        .map(|s| items(&s.sysctls))
        .unwrap_or_default()
        .iter()
        .map(|s| s.name.as_str())
        .filter(|name| !SYSCTLS.contains(name))
        .collect();
    if !sysctls.is_empty() {
        found.add("forbidden sysctls", sysctls.join(", "));
    }
    windows(spec, &containers, found);
}

fn app_armor(spec: &PodSpec, containers: &[View<'_>], found: &mut Violations) {
    let bad = |profile: Option<&AppArmorProfile>| profile.is_some_and(|p| p.type_ == "Unconfined");
    let mut details = Vec::new();
    if bad(spec.security_context.as_ref().and_then(|s| s.app_armor_profile.as_ref())) {
        details.push("pod must not set AppArmor profile type to \"Unconfined\"".to_owned());
    }
    let names: Vec<&str> = containers
        .iter()
        .filter(|c| bad(c.security.and_then(|s| s.app_armor_profile.as_ref())))
        .map(|c| c.name)
        .collect();
    if !names.is_empty() {
        let who = super::violations::containers(&names);
        details.push(format!("{who} must not set AppArmor profile type to \"Unconfined\""));
    }
    if !details.is_empty() {
        let plural = if details.len() + names.len() > 2 { "profiles" } else { "profile" };
        found.add(format!("forbidden AppArmor {plural}"), details.join(" and "));
    }
}

fn capabilities(containers: &[View<'_>], found: &mut Violations) {
    let mut names = Vec::new();
    let mut bad: Vec<&str> = Vec::new();
    for container in containers {
        let added = container.security.and_then(|s| s.capabilities.as_ref()).map(|c| items(&c.add));
        let wrong =
            added.unwrap_or_default().iter().map(String::as_str).filter(|c| !CAPABILITIES.contains(c));
        let wrong: Vec<&str> = wrong.collect();
        if !wrong.is_empty() {
            names.push(container.name);
            bad.extend(wrong);
        }
    }
    bad.sort_unstable();
    bad.dedup();
    let rest = format!("must not include {} in securityContext.capabilities.add", quoted(&bad));
    found.containers("non-default capabilities", &names, &rest);
}

fn host_namespaces(spec: &PodSpec, found: &mut Violations) {
    let all = [
        (spec.host_network, "hostNetwork=true"),
        (spec.host_pid, "hostPID=true"),
        (spec.host_ipc, "hostIPC=true"),
    ];
    let set: Vec<&str> = all.iter().filter(|(on, _)| *on == Some(true)).map(|(_, name)| *name).collect();
    if !set.is_empty() {
        found.add("host namespaces", set.join(", "));
    }
}

fn host_ports(containers: &[View<'_>], found: &mut Violations) {
    let mut names = Vec::new();
    let mut ports: Vec<i32> = Vec::new();
    for container in containers {
        let used: Vec<i32> = container.ports.iter().filter_map(|p| p.host_port).filter(|p| *p != 0).collect();
        if !used.is_empty() {
            names.push(container.name);
            ports.extend(used);
        }
    }
    ports.sort_unstable();
    ports.dedup();
    let word = if ports.len() == 1 { "hostPort" } else { "hostPorts" };
    let verb = if names.len() == 1 { "uses" } else { "use" };
    let list = ports.iter().map(i32::to_string).collect::<Vec<_>>().join(", ");
    found.containers("hostPort", &names, &format!("{verb} {word} {list}"));
}

fn probe_hosts(containers: &[View<'_>], found: &mut Violations) {
    let probe_host = |probe: &Probe| {
        let http = probe.http_get.as_ref().map(|h| text(&h.host));
        let tcp = probe.tcp_socket.as_ref().map(|t| text(&t.host));
        http.into_iter().chain(tcp).any(|host| !host.is_empty())
    };
    let hook_host = |hook: &LifecycleHandler| {
        let http = hook.http_get.as_ref().map(|h| text(&h.host));
        let tcp = hook.tcp_socket.as_ref().map(|t| text(&t.host));
        http.into_iter().chain(tcp).any(|host| !host.is_empty())
    };
    let names: Vec<&str> = containers
        .iter()
        .filter(|c| {
            let hooks = c.lifecycle.into_iter().flat_map(|l| [l.post_start.as_ref(), l.pre_stop.as_ref()]);
            c.probes.iter().flatten().any(|probe| probe_host(probe)) || hooks.flatten().any(hook_host)
        })
        .map(|c| c.name)
        .collect();
    found.containers("probe or lifecycle host", &names, "must not set host in probes or lifecycle hooks");
}

fn proc_mount(spec: &PodSpec, containers: &[View<'_>], found: &mut Violations) {
    // In a user namespace, an unmasked /proc shows nothing of the host's.
    if spec.host_users == Some(false) {
        return;
    }
    let mount = |c: &View<'_>| c.security.map(|s| text(&s.proc_mount).to_owned()).unwrap_or_default();
    let bad = |c: &&View<'_>| !matches!(mount(c).as_str(), "" | "Default");
    let names: Vec<&str> = containers.iter().filter(bad).map(|c| c.name).collect();
    let mut values: Vec<String> = containers.iter().filter(bad).map(mount).collect();
    values.sort();
    values.dedup();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let rest = format!("must not set securityContext.procMount to {}", quoted(&values));
    found.containers("procMount", &names, &rest);
}

fn se_linux(spec: &PodSpec, containers: &[View<'_>], found: &mut Violations) {
    let mut wrong: Vec<String> = Vec::new();
    let mut look = |options: &SELinuxOptions| {
        let mut bad = false;
        if !SELINUX_TYPES.contains(&text(&options.type_)) {
            wrong.push(format!("type {:?}", text(&options.type_)));
            bad = true;
        }
        if !text(&options.user).is_empty() {
            wrong.push("user may not be set".to_owned());
            bad = true;
        }
        if !text(&options.role).is_empty() {
            wrong.push("role may not be set".to_owned());
            bad = true;
        }
        bad
    };
    let pod = spec.security_context.as_ref().and_then(|s| s.se_linux_options.as_ref()).is_some_and(&mut look);
    let names: Vec<&str> = containers
        .iter()
        .filter(|c| c.security.and_then(|s| s.se_linux_options.as_ref()).is_some_and(&mut look))
        .map(|c| c.name)
        .collect();
    if !pod && names.is_empty() {
        return;
    }
    wrong.sort();
    wrong.dedup();
    let who: Vec<String> = pod
        .then(|| "pod".to_owned())
        .into_iter()
        .chain((!names.is_empty()).then(|| super::violations::containers(&names)))
        .collect();
    found.add(
        "seLinuxOptions",
        format!("{} set forbidden securityContext.seLinuxOptions: {}", who.join(" and "), wrong.join("; ")),
    );
}

fn seccomp(spec: &PodSpec, containers: &[View<'_>], found: &mut Violations) {
    let pod = spec.security_context.as_ref().and_then(|s| s.seccomp_profile.as_ref());
    let pod = pod.is_some_and(|p| p.type_ == "Unconfined");
    let bad = |c: &&View<'_>| {
        c.security.and_then(|s| s.seccomp_profile.as_ref()).is_some_and(|p| p.type_ == "Unconfined")
    };
    let names: Vec<&str> = containers.iter().filter(bad).map(|c| c.name).collect();
    let who: Vec<String> = pod
        .then(|| "pod".to_owned())
        .into_iter()
        .chain((!names.is_empty()).then(|| super::violations::containers(&names)))
        .collect();
    if !who.is_empty() {
        let rest = "must not set securityContext.seccompProfile.type to \"Unconfined\"";
        found.add("seccompProfile", format!("{} {rest}", who.join(" and ")));
    }
}

fn windows(spec: &PodSpec, containers: &[View<'_>], found: &mut Violations) {
    let pod = spec.security_context.as_ref().and_then(|s| s.windows_options.as_ref());
    let pod = pod.is_some_and(|w| w.host_process == Some(true));
    let bad = |c: &&View<'_>| {
        c.security.and_then(|s| s.windows_options.as_ref()).is_some_and(|w| w.host_process == Some(true))
    };
    let names: Vec<&str> = containers.iter().filter(bad).map(|c| c.name).collect();
    let who: Vec<String> = pod
        .then(|| "pod".to_owned())
        .into_iter()
        .chain((!names.is_empty()).then(|| super::violations::containers(&names)))
        .collect();
    if !who.is_empty() {
        let rest = "must not set securityContext.windowsOptions.hostProcess=true";
        found.add("hostProcess", format!("{} {rest}", who.join(" and ")));
    }
}
