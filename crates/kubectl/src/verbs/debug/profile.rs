//! What profiles do to a debugging container and its pod.

use serde_json::{Value, json};

/// A set of privileges (KEP-1441).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Profile {
    Legacy,
    General,
    Baseline,
    Restricted,
    NetAdmin,
    SysAdmin,
}

/// Where the debugging container runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Ephemeral,
    Copy,
    Node,
}

impl Profile {
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "legacy" => Self::Legacy,
            "general" => Self::General,
            "baseline" => Self::Baseline,
            "restricted" => Self::Restricted,
            "netadmin" => Self::NetAdmin,
            "sysadmin" => Self::SysAdmin,
            _ => return None,
        })
    }

    /// Sets what the container may do.
    pub(super) fn container(self, container: &mut Value, style: Style) {
        let adds = |container: &mut Value, capabilities: &[&str]| {
            container["securityContext"]["capabilities"] = json!({"add": capabilities});
        };
        match self {
            Self::General if style != Style::Node => adds(container, &["SYS_PTRACE"]),
            Self::Legacy | Self::General | Self::Baseline => {}
            Self::Restricted => {
                container["securityContext"] = json!({
                    "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": true,
                    "seccompProfile": {"type": "RuntimeDefault"},
                });
            }
            Self::NetAdmin => adds(container, &["NET_ADMIN", "NET_RAW"]),
            Self::SysAdmin => container["securityContext"]["privileged"] = true.into(),
        }
    }

    /// Sets what a pod on a node sees of the node.
    pub(super) fn node(self, spec: &mut Value) {
        if matches!(self, Self::Legacy | Self::General | Self::NetAdmin | Self::SysAdmin) {
            for namespace in ["hostNetwork", "hostPID", "hostIPC"] {
                spec[namespace] = true.into();
            }
        }
        if matches!(self, Self::Legacy | Self::General | Self::SysAdmin) {
            spec["volumes"] = json!([{"name": "host-root", "hostPath": {"path": "/"}}]);
            spec["containers"][0]["volumeMounts"] = json!([{"name": "host-root", "mountPath": "/host"}]);
        }
    }
}
