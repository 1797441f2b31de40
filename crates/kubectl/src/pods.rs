//! Pods behind other objects (`deployment/web`), and the containers of a pod.

use crate::error::{Result, fail, message};
use crate::select::{self, Found, Selectors, Target};
use crate::session::Session;
use serde_json::Value;
use std::cmp::Reverse;
use std::time::Duration;

/// The label selector of an object's pods in its string form, if the kind has pods.
pub(crate) fn selector_of(found: &Found) -> Option<String> {
    let selector = &found.value["spec"]["selector"];
    match found.resource.kind.as_str() {
        "Service" | "ReplicationController" => {
            let labels = selector.as_object().filter(|labels| !labels.is_empty())?;
            Some(pairs(labels))
        }
        _ => label_selector(selector),
    }
}

fn pairs(labels: &serde_json::Map<String, Value>) -> String {
    let pairs: Vec<String> =
        labels.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    pairs.join(",")
}

/// A `LabelSelector` in its string form.
pub(crate) fn label_selector(selector: &Value) -> Option<String> {
    let mut terms = Vec::new();
    if let Some(labels) = selector["matchLabels"].as_object().filter(|labels| !labels.is_empty()) {
        terms.push(pairs(labels));
    }
    for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = expression["key"].as_str()?;
        let values: Vec<&str> =
            expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        terms.push(match expression["operator"].as_str()? {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            _ => return None,
        });
    }
    (!terms.is_empty()).then(|| terms.join(","))
}

/// Whether a pod's condition `Ready` is true.
pub(crate) fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready").is_some_and(|condition| condition["status"] == "True")
}

/// A condition of an object.
pub(crate) fn condition<'v>(object: &'v Value, kind: &str) -> Option<&'v Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// How well a pod serves to look into: the best first.
fn rank(pod: &Value) -> (bool, bool, bool, Reverse<String>) {
    let running = pod["status"]["phase"] == "Running";
    let created = pod["metadata"]["creationTimestamp"].as_str().unwrap_or_default().to_owned();
    (pod["spec"]["nodeName"].is_string(), running, is_ready(pod), Reverse(created))
}

/// The pods of an object, the best to look into first.
pub(crate) async fn pods_of(session: &Session, found: &Found) -> Result<Vec<Found>> {
    if found.resource.kind == "Pod" && found.resource.group.is_empty() {
        return Ok(vec![found.clone()]);
    }
    let Some(labels) = selector_of(found) else {
        return fail(format!("cannot get the pods of {}: the kind has no selector", found.display()));
    };
    let pods = session.discovery().await?.find("pods")?;
    let target = Target { resource: pods, namespace: found.namespace.clone(), name: None };
    let selectors = Selectors { labels: Some(labels), fields: None };
    let (mut out, errors) = select::read(session.rest().await?, &[target], &selectors).await?;
    crate::error::Error::all(errors)?;
    out.sort_by_key(|pod| Reverse(rank(&pod.value)));
    Ok(out)
}

/// The pod that an argument names, itself or through what it belongs to. Waits for one that is about to be made.
pub(crate) async fn pod_for(session: &Session, argument: &str, wait: Duration) -> Result<Found> {
    let found = select::one(session, &[argument.to_owned()], "pods").await?;
    let search = async {
        loop {
            if let Some(pod) = pods_of(session, &found).await?.into_iter().next() {
                return Ok(pod);
            }
            wait_for_any_pod(session, &found).await?;
        }
    };
    match tokio::time::timeout(wait, search).await {
        Ok(pod) => pod,
        Err(_) => fail(format!("timed out waiting for a pod of {}; see kubectl describe", found.display())),
    }
}

/// Returns after the next event of the object's pods.
async fn wait_for_any_pod(session: &Session, found: &Found) -> Result<()> {
    let pods = session.discovery().await?.find("pods")?;
    let url = client::http::url::Url::new(pods.path(found.namespace.as_deref(), None))
        .with("labelSelector", selector_of(found).as_deref())
        .with("watch", Some("true"))
        .with("timeoutSeconds", Some("30"));
    let mut lines = session.rest().await?.lines(&url.into_string(), crate::rest::JSON).await?;
    lines.event().await.map(|_| ())
}

/// Names of a pod's containers: init containers, containers, ephemeral containers.
pub(crate) fn containers(pod: &Value) -> Vec<(String, &'static str)> {
    let kinds = [("containers", ""), ("initContainers", " (init)"), ("ephemeralContainers", " (ephem)")];
    let mut out = Vec::new();
    for (field, mark) in kinds {
        for container in pod["spec"][field].as_array().into_iter().flatten() {
            out.push((container["name"].as_str().unwrap_or_default().to_owned(), mark));
        }
    }
    out
}

/// The container that is meant: the one asked for, the annotated default, or the first. Says which when it chose.
pub(crate) fn container(session: &Session, pod: &Found, asked: Option<&str>, quiet: bool) -> Result<String> {
    let all = containers(&pod.value);
    if let Some(name) = asked {
        if all.iter().any(|(known, _)| known == name) {
            return Ok(name.to_owned());
        }
        return fail(format!("container {name} not found in pod {}", pod.name));
    }
    let annotated = pod.value["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"].as_str();
    if let Some(name) = annotated.filter(|name| all.iter().any(|(known, _)| known == name)) {
        return Ok(name.to_owned());
    }
    let (first, _) = all.first().ok_or_else(|| message(format!("pod {} has no containers", pod.name)))?;
    if all.len() > 1 && !quiet {
        let names: Vec<String> = all.iter().map(|(name, mark)| format!("{name}{mark}")).collect();
        session.streams.warn(&format!("Defaulted container {first:?} out of: {}", names.join(", ")));
    }
    Ok(first.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_in_their_string_form() {
        let selector = json!({"matchLabels": {"a": "b"}, "matchExpressions": [
            {"key": "c", "operator": "In", "values": ["d", "e"]}, {"key": "f", "operator": "DoesNotExist"}]});
        assert_eq!(label_selector(&selector).as_deref(), Some("a=b,c in (d,e),!f"));
        assert_eq!(label_selector(&json!({})), None);
    }

    #[test]
    fn running_and_ready_pods_come_first() {
        let pod = |phase: &str, ready: &str, created: &str| {
            json!({"metadata": {"creationTimestamp": created}, "spec": {"nodeName": "n"},
                   "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}})
        };
        assert!(rank(&pod("Running", "True", "2")) > rank(&pod("Running", "False", "1")));
        assert!(rank(&pod("Running", "True", "1")) > rank(&pod("Running", "True", "2")), "older is better");
        assert!(rank(&pod("Running", "False", "2")) > rank(&pod("Pending", "False", "1")));
    }
}
