//! [`Kind`]: one resource, how to reach it and what its objects look like.

use crate::support::{Answer, Server, manifests};
use api::ResourceDef;
use serde_json::{Value, json};
use std::sync::Arc;

/// What a check says: nothing, or what is wrong.
pub(crate) type Outcome = Result<(), String>;

/// One resource on a server.
pub(crate) struct Kind<'a> {
    pub(crate) server: &'a Server,
    pub(crate) def: Arc<ResourceDef>,
    /// Path of the collection.
    pub(crate) path: String,
}

/// Fails with a text unless something holds.
#[macro_export]
macro_rules! ensure {
    ($holds:expr, $($text:tt)+) => {
        if !$holds {
            return Err(format!($($text)+));
        }
    };
}

/// `answer` must have this code; its body.
pub(crate) fn expect(answer: &Answer, code: u16, what: &str) -> Result<Value, String> {
    if answer.code != code {
        return Err(format!("{what} answered {} instead of {code}: {}", answer.code, answer.text()));
    }
    serde_json::from_slice(&answer.body).map_err(|error| format!("{what}: {error} in {}", answer.text()))
}

impl<'a> Kind<'a> {
    pub(crate) fn new(server: &'a Server, def: &Arc<ResourceDef>) -> Self {
        let gvk = &def.gvk;
        let root =
            if gvk.group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{}", gvk.api_version()) };
        let space = if def.namespaced { "/namespaces/default" } else { "" };
        Self { server, def: def.clone(), path: format!("{root}{space}/{}", def.plural) }
    }

    /// Kinds whose names are decided by what is in them.
    pub(crate) fn has_fixed_name(&self) -> bool {
        let kind = self.def.gvk.kind.as_ref();
        ["APIService", "CustomResourceDefinition", "IPAddress"].contains(&kind)
    }

    /// A label that only objects of this row have.
    pub(crate) fn label(&self) -> String {
        format!("{}-{}", self.def.plural, self.def.gvk.version)
    }

    /// Object `n` of the smallest form; rows that share storage never share names.
    pub(crate) fn object(&self, n: usize) -> Value {
        let gvk = &self.def.gvk;
        // What needs nothing besides a name needs no line in the table of samples.
        let mut object = manifests::minimal(&gvk.group, &gvk.version, &gvk.kind).unwrap_or_else(|| json!({}));
        let group = gvk.group.split('.').next().unwrap_or_default();
        let mut name = format!("k{n}-{group}{}", gvk.version);
        match gvk.kind.as_ref() {
            "APIService" => {
                let domain = format!("g{n}.every.example.com");
                object["spec"]["group"] = json!(domain);
                name = format!("v1.{domain}");
            }
            "CustomResourceDefinition" => {
                object["spec"]["names"] =
                    json!({"plural": format!("every{n}s"), "kind": format!("Every{n}")});
                name = format!("every{n}s.example.com");
            }
            "IPAddress" => name = format!("10.211.0.{n}"),
            "ServiceCIDR" => object["spec"]["cidrs"] = json!([format!("10.212.{n}.0/24")]),
            _ => {}
        }
        object["apiVersion"] = json!(gvk.api_version());
        object["kind"] = json!(gvk.kind);
        object["metadata"] = json!({"name": name, "labels": {"row": self.label()}});
        object
    }

    pub(crate) fn one(&self, object: &Value) -> String {
        format!("{}/{}", self.path, object["metadata"]["name"].as_str().unwrap_or_default())
    }

    pub(crate) async fn create(&self, object: &Value) -> Result<Value, String> {
        let made = expect(&self.server.post(&self.path, object).await, 201, "create")?;
        match self.written_condition() {
            Some(condition) => self.settled(&made, condition).await,
            None => Ok(made),
        }
    }

    /// The condition that the server itself adds to new objects of the kind; from then on they are still.
    pub(crate) fn written_condition(&self) -> Option<&'static str> {
        match self.def.gvk.kind.as_ref() {
            "CustomResourceDefinition" => Some("Established"),
            "FlowSchema" => Some("Dangling"),
            "APIService" => Some("Available"),
            _ => None,
        }
    }

    async fn settled(&self, made: &Value, condition: &str) -> Result<Value, String> {
        use api::transport::{ListOptions, Target, WatchEvent};
        use futures::StreamExt;
        let api = self.server.api.transport(apiserver::UserInfo::new("every", &["system:masters"]));
        let name = made["metadata"]["name"].as_str().unwrap_or_default();
        let options =
            ListOptions { field_selector: Some(format!("metadata.name={name}")), ..ListOptions::default() };
        let mut watch = api.watch(&Target::all(self.def.gvr()), &options).await.map_err(|e| e.to_string())?;
        let wait = async {
            while let Some(event) = watch.next().await {
                let Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) = event else { continue };
                let value: Value = serde_json::from_slice(&object.to_json()).unwrap();
                let conditions = value.pointer("/status/conditions").and_then(Value::as_array);
                if conditions.is_some_and(|all| {
                    // A definition may be refused for a moment; of others any answer is the last.
                    let holds = |c: &Value| c["status"] == "True" || condition != "Established";
                    all.iter().any(|c| c["type"] == condition && holds(c))
                }) {
                    return Ok(value);
                }
            }
            Err("the watch of the definition ended".to_owned())
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), wait)
            .await
            .unwrap_or_else(|_| Err("the definition was not established".to_owned()))
    }

    pub(crate) async fn get(&self, object: &Value) -> Result<Value, String> {
        expect(&self.server.get(&self.one(object)).await, 200, "get")
    }

    /// Whether the object is gone.
    pub(crate) async fn is_gone(&self, object: &Value) -> bool {
        self.server.get(&self.one(object)).await.code == 404
    }

    /// Deletes, and takes away whatever holds the object.
    pub(crate) async fn remove(&self, object: &Value) -> Outcome {
        let path = self.one(object);
        let answer = self.server.delete(&format!("{path}?gracePeriodSeconds=0")).await;
        ensure!(matches!(answer.code, 200 | 404), "delete answered {}: {}", answer.code, answer.text());
        if self.is_gone(object).await {
            return Ok(());
        }
        let free = json!({"metadata": {"finalizers": null}});
        self.server.patch(&path, "merge", &free).await;
        if self.def.gvk.kind == "Namespace" {
            let mut freed = self.get(object).await?;
            freed["spec"]["finalizers"] = json!([]);
            let answer = self.server.put(&format!("{path}/finalize"), &freed).await;
            ensure!(answer.code == 200, "finalize answered {}: {}", answer.code, answer.text());
        }
        ensure!(self.is_gone(object).await, "still there after its finalizers were removed");
        Ok(())
    }
}

/// The cause of a Status for `field`.
pub(crate) fn has_cause(status: &Value, field: &str) -> bool {
    let causes = status.pointer("/details/causes").and_then(Value::as_array);
    causes.is_some_and(|all| all.iter().any(|cause| cause["field"] == field))
}
