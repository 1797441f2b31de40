//! Lifecycle hooks: exec, HTTP GET and sleep.

use crate::kubelet::Kubelet;
use crate::probes::http;
use api::k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod};
use std::sync::Arc;
use std::time::Duration;

/// Hooks over HTTP that never answer are given up after this long, where nothing else ends them.
const HTTP_TIMEOUT: Duration = Duration::from_secs(60);

/// Runs a hook to its end; errors say why it failed.
pub(crate) async fn run(
    kubelet: &Arc<Kubelet>,
    pod: &Pod,
    container: &Container,
    id: &str,
    hook: &LifecycleHandler,
) -> Result<(), String> {
    if let Some(exec) = &hook.exec {
        let command = exec.command.clone().unwrap_or_default();
        let output =
            kubelet.runtime.exec_sync(id, &command, Duration::ZERO).await.map_err(|e| e.to_string())?;
        return match output.code {
            0 => Ok(()),
            code => {
                let text = String::from_utf8_lossy(&output.output).into_owned();
                Err(format!("command '{}' exited with {code}: {text}", command.join(" ")))
            }
        };
    }
    if let Some(get) = &hook.http_get {
        let ip = kubelet.pod_ips(pod).first().cloned().unwrap_or_default();
        let target = http::Target::of(get, container, &ip)?;
        return match http::get(&target, HTTP_TIMEOUT).await {
            Ok(answer) if answer.status < 400 => Ok(()),
            Ok(answer) => Err(format!("HTTP hook failed with statuscode: {}", answer.status)),
            Err(why) => Err(why),
        };
    }
    if let Some(sleep) = &hook.sleep {
        kubelet.clock.sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
        return Ok(());
    }
    Err("the hook names no action; give it exec, httpGet or sleep".to_owned())
}
