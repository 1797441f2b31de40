//! Conversion webhooks (`spec.conversion`, ConversionReview `apiextensions.k8s.io/v1`).
//!
//! A webhook may change everything but the identity of an object: of its metadata only labels and annotations are
//! taken. Deliberately absent: ConversionReview v1beta1, and converting by itself.

use crate::admission::post_webhook;
use crate::contract::Context;
use api::k8s_openapi::api::admissionregistration::v1::{ServiceReference, WebhookClientConfig};
use api::k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use api::resource::ConvertRemotely;
use futures::FutureExt;
use futures::future::BoxFuture;
use machinery::{GroupVersionKind, Status};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How long a webhook may take (upstream's).
const TIMEOUT: Duration = Duration::from_secs(30);

struct Webhook {
    context: Context,
    client: WebhookClientConfig,
    speaks_v1: bool,
}

/// The conversion webhook of a definition, if it has one.
pub(super) fn webhook(context: &Context, crd: &CustomResourceDefinition) -> Option<Arc<dyn ConvertRemotely>> {
    let conversion = crd.spec.conversion.as_ref().filter(|conversion| conversion.strategy == "Webhook")?;
    let webhook = conversion.webhook.as_ref()?;
    let client = webhook.client_config.as_ref()?;
    let service = client.service.as_ref().map(|service| ServiceReference {
        name: service.name.clone(),
        namespace: service.namespace.clone(),
        path: service.path.clone(),
        port: service.port,
    });
    let client =
        WebhookClientConfig { ca_bundle: client.ca_bundle.clone(), service, url: client.url.clone() };
    let speaks_v1 = webhook.conversion_review_versions.iter().any(|version| version == "v1");
    Some(Arc::new(Webhook { context: context.clone(), client, speaks_v1 }))
}

fn string<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The kind that objects are of now, in upstream's words.
fn kind_of(tree: &Value) -> String {
    format!("{}, Kind={}", string(tree, "/apiVersion"), string(tree, "/kind"))
}

/// The converted object with the metadata of the original; only labels and annotations may differ.
fn restore(original: &Value, mut converted: Value, to: &GroupVersionKind) -> Result<Value, String> {
    let (found, wanted) = (string(&converted, "/apiVersion"), to.api_version());
    if found != wanted {
        return Err(format!("invalid groupVersion (expected {wanted}, received {found})"));
    }
    for (what, pointer) in [
        ("kind", "/kind"),
        ("name", "/metadata/name"),
        ("namespace", "/metadata/namespace"),
        ("UID", "/metadata/uid"),
    ] {
        let (before, after) = (string(original, pointer), string(&converted, pointer));
        if before != after {
            return Err(format!("must have the same {what}: {after} != {before}"));
        }
    }
    let mut metadata = original.get("metadata").cloned().unwrap_or_else(|| json!({}));
    for key in ["labels", "annotations"] {
        let new = converted.pointer(&format!("/metadata/{key}")).filter(|new| !new.is_null()).cloned();
        let Some(fields) = metadata.as_object_mut() else { continue };
        match new {
            Some(Value::Object(map)) if map.values().all(Value::is_string) => {
                fields.insert(key.to_owned(), Value::Object(map));
            }
            Some(_) => return Err(format!("metadata.{key} must be a map of strings")),
            None => {
                fields.shift_remove(key);
            }
        }
    }
    converted["metadata"] = metadata;
    Ok(converted)
}

impl Webhook {
    async fn ask(&self, objects: Vec<Value>, to: &GroupVersionKind) -> Result<Vec<Value>, Status> {
        let from = objects.first().map(kind_of).unwrap_or_default();
        let failed = |why: String| Status::internal(format!("conversion webhook for {from} failed: {why}"));
        if !self.speaks_v1 {
            return Err(failed("it takes no ConversionReview of version v1".to_owned()));
        }
        let uid = crate::registry::fresh_uid();
        let review = json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1",
            "request": {"uid": uid, "desiredAPIVersion": to.api_version(), "objects": objects}});
        let body = serde_json::to_vec(&review).map_err(Status::internal)?;
        let answer = post_webhook(&self.context, &self.client, body.into(), TIMEOUT).await;
        let answer =
            answer.map_err(|why| failed(why.trim_start_matches("failed to call webhook: ").to_owned()))?;
        let answer: Value = serde_json::from_slice(&answer).map_err(|error| failed(error.to_string()))?;
        let version = (string(&answer, "/apiVersion"), string(&answer, "/kind"));
        if version != ("apiextensions.k8s.io/v1", "ConversionReview") {
            return Err(failed("the answer is no ConversionReview of apiextensions.k8s.io/v1".to_owned()));
        }
        let got = string(&answer, "/response/uid");
        if got != uid {
            return Err(failed(format!("expected response.uid={uid:?}, got {got:?}")));
        }
        if string(&answer, "/response/result/status") != "Success" {
            return Err(failed(match string(&answer, "/response/result/message") {
                "" => "unknown reason".to_owned(),
                message => message.to_owned(),
            }));
        }
        let converted = answer.pointer("/response/convertedObjects").and_then(Value::as_array).cloned();
        let converted = converted.unwrap_or_default();
        if converted.len() != objects.len() {
            return Err(Status::internal(format!(
                "conversion webhook for {from} returned {} objects, expected {}",
                converted.len(),
                objects.len()
            )));
        }
        let restored = objects.iter().zip(converted).enumerate().map(|(at, (original, converted))| {
            restore(original, converted, to).map_err(|why| {
                Status::internal(format!(
                    "conversion webhook for {from} returned invalid converted object at index {at}: {why}"
                ))
            })
        });
        restored.collect()
    }
}

impl ConvertRemotely for Webhook {
    fn convert<'a>(
        &'a self,
        objects: Vec<Value>,
        to: &'a GroupVersionKind,
    ) -> BoxFuture<'a, Result<Vec<Value>, Status>> {
        self.ask(objects, to).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_labels_and_annotations_of_metadata_may_change() {
        let original = json!({"apiVersion": "x/v1", "kind": "K", "metadata": {"name": "a", "uid": "1", "generation": 3,
            "labels": {"a": "b"}}});
        let to = GroupVersionKind::new("x", "v2", "K");
        let converted =
            |metadata: Value| json!({"apiVersion": "x/v2", "kind": "K", "metadata": metadata, "spec": 1});
        let fine = converted(json!({"name": "a", "uid": "1", "generation": 9, "annotations": {"c": "d"}}));
        let restored = restore(&original, fine, &to).unwrap();
        assert_eq!(
            restored["metadata"],
            json!({"name": "a", "uid": "1", "generation": 3, "annotations": {"c": "d"}})
        );
        assert_eq!(restored["spec"], 1);
        let renamed = restore(&original, converted(json!({"name": "b", "uid": "1"})), &to);
        assert_eq!(renamed.unwrap_err(), "must have the same name: b != a");
        assert!(
            restore(&original, converted(json!({"name": "a", "uid": "1", "labels": {"x": 1}})), &to).is_err()
        );
        assert!(restore(&original, original.clone(), &to).unwrap_err().starts_with("invalid groupVersion"));
    }
}
