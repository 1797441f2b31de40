//! What the runtime is asked to make for a container. Pure; everything it needs was fetched before.

use crate::container::security::{self, ImageUser};
use crate::container::{expand::expand, resources};
use crate::model::{annotations, labels};
use crate::spec;
use api::k8s_openapi::api::core::v1::{Container, ContainerPort, Pod};
use cri::v1;
use std::collections::HashMap;

/// Default of `terminationMessagePath`.
pub(crate) const TERMINATION_PATH: &str = "/dev/termination-log";

/// What goes into a container's configuration.
pub(crate) struct Inputs<'a> {
    /// The pod.
    pub(crate) pod: &'a Pod,
    /// The container.
    pub(crate) container: &'a Container,
    /// How many attempts came before.
    pub(crate) restart_count: i32,
    /// Reference of the image, as the runtime gave it.
    pub(crate) image_ref: String,
    /// Who the image runs as.
    pub(crate) user: ImageUser,
    /// Environment.
    pub(crate) env: Vec<(String, String)>,
    /// Mounts.
    pub(crate) mounts: Vec<v1::Mount>,
    /// Container whose processes an ephemeral one sees.
    pub(crate) target: Option<String>,
    /// Memory of the node, bytes.
    pub(crate) memory_capacity: i64,
    /// Defaults of security.
    pub(crate) security: security::Defaults<'a>,
}

/// Path of a container's log below its pod's log directory.
pub(crate) fn log_path(container: &str, restart_count: i32) -> String {
    format!("{container}/{restart_count}.log")
}

fn port_json(port: &ContainerPort) -> serde_json::Value {
    serde_json::json!({"name": port.name, "containerPort": port.container_port, "hostPort": port.host_port,
        "protocol": port.protocol, "hostIP": port.host_ip})
}

fn container_annotations(inputs: &Inputs<'_>) -> HashMap<String, String> {
    let c = inputs.container;
    let mut all = HashMap::from([
        (annotations::HASH.to_owned(), format!("{:x}", spec::hash(c))),
        (annotations::RESTART_COUNT.to_owned(), inputs.restart_count.to_string()),
        (
            annotations::TERMINATION_PATH.to_owned(),
            c.termination_message_path.clone().unwrap_or_else(|| TERMINATION_PATH.to_owned()),
        ),
        (
            annotations::TERMINATION_POLICY.to_owned(),
            c.termination_message_policy.clone().unwrap_or_else(|| "File".to_owned()),
        ),
        (annotations::POD_GRACE.to_owned(), spec::grace_seconds(inputs.pod).to_string()),
    ]);
    if let Some(grace) = inputs.pod.metadata.deletion_grace_period_seconds {
        all.insert(annotations::DELETION_GRACE.to_owned(), grace.to_string());
    }
    if let Some(ports) = c.ports.as_ref().filter(|p| !p.is_empty()) {
        let list: Vec<_> = ports.iter().map(port_json).collect();
        all.insert(annotations::PORTS.to_owned(), serde_json::Value::Array(list).to_string());
    }
    all
}

/// `SIGTERM` and its like as CRI numbers them.
fn stop_signal(container: &Container) -> i32 {
    let name = container.lifecycle.as_ref().and_then(|l| l.stop_signal.as_deref()).unwrap_or_default();
    let name = name.replace("RTMIN+", "RTMINPLUS").replace("RTMAX-", "RTMAXMINUS");
    v1::Signal::from_str_name(&name).unwrap_or(v1::Signal::RuntimeDefault) as i32
}

/// Builds the container's configuration.
pub(crate) fn config(inputs: &Inputs<'_>) -> v1::ContainerConfig {
    let (pod, c) = (inputs.pod, inputs.container);
    let known = |name: &str| inputs.env.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
    let words = |list: Option<&Vec<String>>| -> Vec<String> {
        list.into_iter().flatten().map(|word| expand(word, known)).collect()
    };
    let attempt = u32::try_from(inputs.restart_count).unwrap_or(0);
    v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: c.name.clone(), attempt }),
        image: Some(v1::ImageSpec {
            image: inputs.image_ref.clone(),
            user_specified_image: c.image.clone().unwrap_or_default(),
            ..v1::ImageSpec::default()
        }),
        command: words(c.command.as_ref()),
        args: words(c.args.as_ref()),
        working_dir: c.working_dir.clone().unwrap_or_default(),
        envs: inputs
            .env
            .iter()
            .map(|(key, value)| v1::KeyValue { key: key.clone(), value: value.clone() })
            .collect(),
        mounts: inputs.mounts.clone(),
        labels: HashMap::from([
            (labels::CONTAINER_NAME.to_owned(), c.name.clone()),
            (labels::POD_NAME.to_owned(), spec::name(pod).to_owned()),
            (labels::POD_NAMESPACE.to_owned(), spec::namespace(pod).to_owned()),
            (labels::POD_UID.to_owned(), spec::uid(pod).to_owned()),
        ]),
        annotations: container_annotations(inputs),
        log_path: log_path(&c.name, inputs.restart_count),
        stdin: c.stdin.unwrap_or(false),
        stdin_once: c.stdin_once.unwrap_or(false),
        tty: c.tty.unwrap_or(false),
        linux: Some(v1::LinuxContainerConfig {
            resources: Some(resources::of_container(pod, c, inputs.memory_capacity)),
            security_context: Some(security::container(
                pod,
                c,
                &inputs.user,
                inputs.target.as_deref(),
                &inputs.security,
            )),
        }),
        stop_signal: stop_signal(c),
        ..v1::ContainerConfig::default()
    }
}
