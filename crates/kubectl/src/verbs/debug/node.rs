//! A pod on a node, with the node's namespaces and files as the profile has it.

use super::profile::Style;
use super::{Wish, suffixed};
use crate::error::Result;
use crate::flags::text;
use crate::select::Found;
use crate::session::Session;
use http::Method;
use serde_json::json;

pub(super) async fn run(session: &Session, wish: &Wish<'_>, node: &Found) -> Result<(Found, String)> {
    let name = text(wish.matches, "container").unwrap_or("debugger").to_owned();
    let pod_name = suffixed(&format!("node-debugger-{}-", node.name));
    if !wish.quiet() {
        session
            .streams
            .warn(&format!("Creating debugging pod {pod_name} with container {name} on node {}.", node.name));
    }
    let mut container = wish.container(&name);
    wish.profile.container(&mut container, Style::Node);
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod_name, "labels": {"app.kubernetes.io/managed-by": "kubectl-debug"}},
        "spec": {
            "containers": [container], "nodeName": node.name, "restartPolicy": "Never",
            "tolerations": [{"operator": "Exists"}],
        },
    });
    wish.profile.node(&mut pod["spec"]);
    wish.customize(&mut pod["spec"]["containers"][0]);
    let resource = session.discovery().await?.find("pods")?;
    let namespace = session.namespace().await?;
    let path = resource.path(Some(&namespace), None);
    let value = session.rest().await?.send(Method::POST, &path, crate::rest::JSON, &pod).await?;
    Ok((Found { resource, namespace: Some(namespace), name: pod_name, value, source: String::new() }, name))
}
