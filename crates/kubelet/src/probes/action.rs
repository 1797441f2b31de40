//! What a probe does: exec, HTTP, TCP or gRPC.

use super::worker::Outcome;
use super::{grpc, http, tcp};
use crate::kubelet::Kubelet;
use api::k8s_openapi::api::core::v1::{Container, Pod, Probe};
use api::k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::sync::Arc;
use std::time::Duration;
use tonic::Code;

/// Output of exec probes in messages is cut to this many bytes.
const MAX_OUTPUT: usize = 10 * 1024;

/// The number of a port given as number or name.
pub(crate) fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => match name.parse() {
            Ok(number) => Some(number),
            Err(_) => {
                let ports = container.ports.as_deref().unwrap_or_default();
                ports.iter().find(|p| p.name.as_deref() == Some(name)).map(|p| p.container_port)
            }
        },
    };
    match number {
        Some(number) => u16::try_from(number)
            .ok()
            .filter(|n| *n > 0)
            .ok_or_else(|| format!("invalid port number: {number}")),
        None => Err(format!("couldn't find port: {port:?} in container {}", container.name)),
    }
}

async fn exec(kubelet: &Kubelet, id: &str, command: &[String], timeout: Duration) -> Outcome {
    match kubelet.runtime.exec_sync(id, command, timeout).await {
        Ok(output) if output.code == 0 => Outcome::Success,
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.output[..output.output.len().min(MAX_OUTPUT)]);
            Outcome::Failure(text.into_owned())
        }
        Err(error) if error.code == Code::DeadlineExceeded => Outcome::Failure(format!(
            "command timed out: {:?} timed out after {}",
            command.join(" "),
            crate::pod::backoff::go_duration(timeout)
        )),
        Err(error) => Outcome::Error(error.to_string()),
    }
}

/// Probes once.
pub(super) async fn attempt(
    kubelet: &Arc<Kubelet>,
    pod: &Pod,
    container: &Container,
    id: &str,
    probe: &Probe,
    timeout: Duration,
) -> Outcome {
    let ip = kubelet.pod_ips(pod).first().cloned().unwrap_or_default();
    if let Some(action) = &probe.exec {
        return exec(kubelet, id, action.command.as_deref().unwrap_or_default(), timeout).await;
    }
    if let Some(get) = &probe.http_get {
        let target = match http::Target::of(get, container, &ip) {
            Ok(target) => target,
            Err(why) => return Outcome::Error(why),
        };
        return match http::get(&target, timeout).await {
            Ok(answer) if (200..400).contains(&answer.status) => Outcome::Success,
            Ok(answer) => Outcome::Failure(format!("HTTP probe failed with statuscode: {}", answer.status)),
            Err(how) => Outcome::Failure(how),
        };
    }
    if let Some(socket) = &probe.tcp_socket {
        let host = socket.host.clone().filter(|h| !h.is_empty()).unwrap_or(ip);
        return match port(&socket.port, container) {
            Ok(port) => tcp::connect(&host, port, timeout).await,
            Err(why) => Outcome::Error(why),
        };
    }
    if let Some(action) = &probe.grpc {
        let Ok(port) = u16::try_from(action.port) else {
            return Outcome::Error(format!("invalid port number: {}", action.port));
        };
        return grpc::check(&ip, port, action.service.as_deref().unwrap_or_default(), timeout).await;
    }
    Outcome::Error(format!("missing probe handler for container {}", container.name))
}
