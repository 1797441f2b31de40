//! A copy of a pod with other images, another command, or one container more.

use super::profile::Style;
use super::{Wish, container_name};
use crate::error::{Result, fail};
use crate::flags::{text, words};
use crate::rest::JSON;
use crate::select::Found;
use crate::session::Session;
use http::Method;
use serde_json::{Value, json};

pub(super) async fn run(session: &Session, wish: &Wish<'_>, pod: &Found) -> Result<(Found, String)> {
    let name = text(wish.matches, "copy-to").unwrap_or_default().to_owned();
    let mut copy = strip(wish, &pod.value, &name);
    let container = change(session, wish, &mut copy)?;
    let rest = session.rest().await?;
    if wish.set("replace") {
        rest.send(Method::DELETE, &pod.path(), JSON, &Value::Null).await?;
        if name == pod.name {
            super::super::delete::wait_gone(session, pod, pod.value["metadata"]["uid"].as_str(), None)
                .await?;
        }
    }
    let path = pod.resource.path(pod.namespace.as_deref(), None);
    let value = rest.send(Method::POST, &path, JSON, &copy).await?;
    Ok((Found { name, value, ..pod.clone() }, container))
}

/// What a copy takes over.
fn strip(wish: &Wish<'_>, pod: &Value, name: &str) -> Value {
    let mut metadata = json!({"name": name, "namespace": pod["metadata"]["namespace"]});
    for (flag, field) in [("keep-labels", "labels"), ("keep-annotations", "annotations")] {
        if wish.set(flag) {
            metadata[field] = pod["metadata"][field].clone();
        }
    }
    let mut spec = pod["spec"].clone();
    if let Some(map) = spec.as_object_mut() {
        map.remove("ephemeralContainers");
        if !wish.set("same-node") {
            map.remove("nodeName");
        }
        if !wish.set("keep-init-containers") {
            map.remove("initContainers");
        }
    }
    for list in ["containers", "initContainers"] {
        for container in spec[list].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
            for (flag, probe) in [
                ("keep-liveness", "livenessProbe"),
                ("keep-readiness", "readinessProbe"),
                ("keep-startup", "startupProbe"),
            ] {
                if !wish.set(flag) {
                    container.remove(probe);
                }
            }
        }
    }
    spec["shareProcessNamespace"] = wish.set("share-processes").into();
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
}

/// Changes the copy; answers the container to attach to, if there is one.
fn change(session: &Session, wish: &Wish<'_>, pod: &mut Value) -> Result<String> {
    let images = words(wish.matches, "set-image");
    let all: Vec<&str> = images.iter().flat_map(|list| list.split(',')).collect();
    for pair in &all {
        let Some((name, image)) = pair.split_once('=') else {
            return fail(format!("invalid argument syntax {pair:?}, expected <container>=<image>"));
        };
        for list in ["containers", "initContainers"] {
            for container in pod["spec"][list].as_array_mut().into_iter().flatten() {
                if name == "*" || container["name"] == name {
                    container["image"] = image.into();
                }
            }
        }
    }
    let asked = text(wish.matches, "container");
    if asked.is_none() && text(wish.matches, "image").is_none() && wish.command.is_empty() {
        return Ok(String::new());
    }
    let known = crate::pods::containers(pod);
    let position = |pod: &Value, name: &str| {
        pod["spec"]["containers"]
            .as_array()
            .into_iter()
            .flatten()
            .position(|container| container["name"] == name)
    };
    let name = match asked {
        Some(name) => name.to_owned(),
        // A command without an image is one for the only container.
        None if text(wish.matches, "image").is_none() => match known.as_slice() {
            [(only, _)] => only.clone(),
            _ => return fail("you must specify an existing container or a new image when specifying args."),
        },
        None => container_name(session, wish, pod),
    };
    let at = match position(pod, &name) {
        Some(at) => {
            let new = wish.container(&name);
            let container = &mut pod["spec"]["containers"][at];
            if !wish.command.is_empty() {
                container["command"] = Value::Null;
                container["args"] = Value::Null;
            }
            machinery::patch::merge::merge(container, new);
            if let Some(map) = container.as_object_mut() {
                map.retain(|_, value| !value.is_null());
            }
            at
        }
        None if text(wish.matches, "image").is_none() => {
            return fail("you must specify an existing container or a new image when specifying args.");
        }
        None => {
            let new = wish.container(&name);
            match pod["spec"]["containers"].as_array_mut() {
                Some(list) => {
                    list.push(new);
                    list.len() - 1
                }
                None => return fail("the pod has no containers"),
            }
        }
    };
    let container = &mut pod["spec"]["containers"][at];
    wish.profile.container(container, Style::Copy);
    wish.customize(container);
    Ok(name)
}
