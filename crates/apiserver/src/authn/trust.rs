//! Tells extension API servers, schedulers and controller managers whom this server believes: the ConfigMap
//! `kube-system/extension-apiserver-authentication`, from which they set up delegated authentication.
//!
//! Deliberately absent: merging the bundles of several API servers; the last one to start writes its own.

use crate::contract::Context;
use api::transport::{Target, WriteOptions};
use machinery::{GroupVersionResource, Status};
use serde_json::{Map, Value, json};

const NAME: &str = "extension-apiserver-authentication";

fn data(context: &Context) -> Map<String, Value> {
    let config = &context.config;
    let mut data = Map::new();
    let pem = |bundle: &[u8]| json!(String::from_utf8_lossy(bundle));
    if let Some(bundle) = &config.client_ca {
        data.insert("client-ca-file".to_owned(), pem(bundle));
    }
    if let Some(bundle) = &config.front_proxy_ca {
        data.insert("requestheader-client-ca-file".to_owned(), pem(bundle));
        let mut list = |key: &str, values: Value| data.insert(key.to_owned(), json!(values.to_string()));
        list("requestheader-allowed-names", json!(config.front_proxy_names));
        list("requestheader-extra-headers-prefix", json!(["X-Remote-Extra-"]));
        list("requestheader-group-headers", json!(["X-Remote-Group"]));
        list("requestheader-uid-headers", json!(["X-Remote-Uid"]));
        list("requestheader-username-headers", json!(["X-Remote-User"]));
    }
    data
}

/// Writes the ConfigMap. The namespace `kube-system` must exist.
pub async fn publish(context: &Context) -> Result<(), Status> {
    let data = data(context);
    if data.is_empty() {
        return Ok(());
    }
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME}, "data": data});
    let all = Target::all(GroupVersionResource::new("", "v1", "configmaps")).in_namespace("kube-system");
    let options = WriteOptions::default();
    match context.loopback.create(&all, map.to_string().into(), &options).await {
        Err(error) if error.is_already_exists() => {}
        result => return result.map(drop),
    }
    context.loopback.update(&all.named(NAME), map.to_string().into(), &options).await.map(drop)
}
