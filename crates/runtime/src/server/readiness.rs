//! What this runtime is ready for and can do, as its status says.

use super::Inner;
use cri::v1;

/// The runtime's status. Reads the network configuration; blocks.
pub(crate) fn status(inner: &Inner, verbose: bool) -> v1::StatusResponse {
    let missing = inner.cgroups.missing();
    let runtime = if missing.is_empty() {
        condition("RuntimeReady", Ok(()))
    } else {
        let why = format!("cgroup controllers {missing:?} are missing; mount them or boot with them enabled");
        condition("RuntimeReady", Err(("CgroupControllersMissing", why)))
    };
    let network = match inner.cni.network() {
        Ok(_) => condition("NetworkReady", Ok(())),
        Err(error) => {
            let why = format!("Network plugin returns error: {error}");
            condition("NetworkReady", Err(("NetworkPluginNotReady", why)))
        }
    };
    let features = v1::RuntimeHandlerFeatures { recursive_read_only_mounts: true, user_namespaces: false };
    let handler = |name: &str| v1::RuntimeHandler { name: name.to_owned(), features: Some(features) };
    let mut response = v1::StatusResponse {
        status: Some(v1::RuntimeStatus { conditions: vec![runtime, network] }),
        runtime_handlers: vec![handler(""), handler("windlass")],
        features: Some(v1::RuntimeFeatures {
            supplemental_groups_policy: true,
            user_namespaces_host_network: false,
        }),
        ..Default::default()
    };
    if verbose {
        let config = &inner.config;
        let info = serde_json::json!({"root": config.root, "state": config.state,
            "cniConfDir": config.cni_conf_dir, "cniBinDirs": config.cni_bin_dirs});
        response.info.insert("config".into(), info.to_string());
    }
    response
}

fn condition(kind: &str, state: Result<(), (&str, String)>) -> v1::RuntimeCondition {
    let (status, reason, message) = match state {
        Ok(()) => (true, "", String::new()),
        Err((reason, message)) => (false, reason, message),
    };
    v1::RuntimeCondition { r#type: kind.to_owned(), status, reason: reason.to_owned(), message }
}
