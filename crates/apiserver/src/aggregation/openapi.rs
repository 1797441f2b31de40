//! OpenAPI of remote groups, among our own: v3 documents are the remote servers', v2 is one document of all.

use super::Aggregator;
use super::remote::Remote;
use crate::contract::Context;
use crate::openapi::Document;
use bytes::Bytes;
use http::header::ETAG;
use machinery::Status;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The merged v2 document, and of what it was made.
#[derive(Default)]
pub(super) struct Cache(Mutex<Option<(String, Arc<Document>)>>);

impl Cache {
    /// What remote servers say may have changed.
    pub(super) fn forget(&self) {
        *self.0.lock() = None;
    }
}

/// Reads where the remote server's documents are, and its v2 document.
pub(super) async fn refresh(remote: &Remote, context: &Context) {
    let name = format!("apis/{}/{}", remote.group, remote.version);
    if let Ok((code, _, body)) = remote.get(context, "/openapi/v3", "application/json").await
        && code.is_success()
    {
        let index: Value = serde_json::from_slice(&body).unwrap_or_default();
        let at =
            index.get("paths").and_then(|paths| paths.get(&name)).and_then(|at| at.get("serverRelativeURL"));
        let found = at.and_then(Value::as_str).filter(|url| url.starts_with("/openapi/v3/"));
        remote.seen.lock().openapi_v3 = found.map(str::to_owned);
    }
    if let Ok((code, headers, body)) = remote.get(context, "/openapi/v2", "application/json").await
        && code.is_success()
        && let Ok(document) = serde_json::from_slice::<Value>(&body)
    {
        let tag = headers.get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let tag = tag.unwrap_or_else(|| hex(&Sha512::digest(&body)));
        remote.seen.lock().openapi_v2 = Some((tag, Arc::new(document)));
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// The remote part of OpenAPI.
pub(crate) struct Extra {
    /// v3 documents by name, and where they are.
    v3: BTreeMap<String, String>,
    v2: Vec<(String, Arc<Value>)>,
}

impl Aggregator {
    /// What remote servers add; `None` when there is nothing.
    pub(crate) fn openapi(&self) -> Option<Extra> {
        let remotes = self.remotes.load();
        if remotes.is_empty() {
            return None;
        }
        let (mut v3, mut v2) = (BTreeMap::new(), Vec::new());
        for remote in remotes.iter() {
            let seen = remote.seen.lock();
            if let Some(url) = &seen.openapi_v3 {
                v3.insert(format!("apis/{}/{}", remote.group, remote.version), url.clone());
            }
            if let Some((tag, document)) = &seen.openapi_v2
                && !v2.iter().any(|(known, _)| known == tag)
            {
                v2.push((tag.clone(), document.clone()));
            }
        }
        Some(Extra { v3, v2 })
    }

    /// The remote v3 document called `name`, if a remote server has it.
    pub(crate) async fn openapi_v3(
        &self,
        context: &Context,
        name: &str,
        query: &str,
    ) -> Option<Result<Bytes, Status>> {
        let remote = self.find(name)?;
        let path = if query.is_empty() {
            format!("/openapi/v3/{name}")
        } else {
            format!("/openapi/v3/{name}?{query}")
        };
        let answer = remote.get(context, &path, "application/json").await;
        Some(match answer {
            Ok((code, _, body)) if code.is_success() => Ok(body),
            Ok((code, ..)) => Err(Status::unavailable(format!("the remote API server answered {code}"))),
            Err(why) => Err(Status::unavailable(format!("error trying to reach service: {why}"))),
        })
    }

    /// The v2 document with the remote ones in it. Computes for a while: call it off the async threads.
    pub(crate) fn merged_v2(&self, own: &Arc<Document>, extra: &Extra) -> Result<Arc<Document>, Status> {
        if extra.v2.is_empty() {
            return Ok(own.clone());
        }
        let tags: Vec<&str> = extra.v2.iter().map(|(tag, _)| tag.as_str()).collect();
        let made_of = format!("{} {}", own.hash, tags.join(" "));
        if let Some((known, document)) = self.openapi.0.lock().as_ref()
            && *known == made_of
        {
            return Ok(document.clone());
        }
        let mut merged: Value = serde_json::from_slice(&own.plain()).map_err(Status::internal)?;
        for (_, document) in &extra.v2 {
            merge(&mut merged, document);
        }
        let hash = hex(&Sha512::digest(made_of.as_bytes()));
        let text = merged.to_string();
        let document = Arc::new(Document::new(hash, |out| out.write_all(text.as_bytes())));
        *self.openapi.0.lock() = Some((made_of, document.clone()));
        Ok(document)
    }
}

impl Extra {
    /// The v3 index with the remote documents in it.
    pub(crate) fn merged_index(&self, own: &Document) -> Result<Document, Status> {
        let mut index: Value = serde_json::from_slice(&own.plain()).map_err(Status::internal)?;
        if let Some(paths) = index.get_mut("paths").and_then(Value::as_object_mut) {
            for (name, url) in &self.v3 {
                paths.insert(name.clone(), json!({"serverRelativeURL": url}));
            }
        }
        let text = index.to_string();
        let hash = hex(&Sha512::digest(text.as_bytes()));
        Ok(Document::new(hash, |out| out.write_all(text.as_bytes())))
    }
}

/// Adds paths and definitions that are new. A definition of the same name but other contents gets a name of its own.
fn merge(into: &mut Value, from: &Value) {
    let object =
        |value: &Value, key: &str| value.get(key).and_then(Value::as_object).cloned().unwrap_or_default();
    let known = object(into, "definitions");
    let mut renamed: BTreeMap<String, String> = BTreeMap::new();
    let mut definitions = Map::new();
    for (name, definition) in object(from, "definitions") {
        match known.get(&name) {
            None => drop(definitions.insert(name, definition)),
            Some(same) if *same == definition => {}
            Some(_) => {
                let other = (2..).map(|n| format!("{name}_v{n}")).find(|name| !known.contains_key(name));
                let Some(other) = other else { continue };
                renamed.insert(format!("#/definitions/{name}"), format!("#/definitions/{other}"));
                definitions.insert(other, definition);
            }
        }
    }
    let mut paths = object(from, "paths");
    if !renamed.is_empty() {
        paths.values_mut().for_each(|value| rename(value, &renamed));
        definitions.values_mut().for_each(|value| rename(value, &renamed));
    }
    for (key, new) in [("paths", paths), ("definitions", definitions)] {
        if let Some(all) = into.get_mut(key).and_then(Value::as_object_mut) {
            for (name, value) in new {
                all.entry(name).or_insert(value);
            }
        }
    }
}

fn rename(value: &mut Value, renamed: &BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(to)) = fields.get_mut("$ref")
                && let Some(new) = renamed.get(to)
            {
                to.clone_from(new);
            }
            fields.values_mut().for_each(|field| rename(field, renamed));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, renamed)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_that_differ_get_names_of_their_own() {
        let mut own = json!({"paths": {"/a": {}}, "definitions": {"Same": {"type": "string"}, "Other": {"type": "string"}}});
        let theirs = json!({"paths": {"/a": {"get": 1}, "/b": {"schema": {"$ref": "#/definitions/Other"}}},
            "definitions": {"Same": {"type": "string"}, "Other": {"type": "object"},
                "New": {"properties": {"o": {"$ref": "#/definitions/Other"}}}}});
        merge(&mut own, &theirs);
        assert_eq!(own["paths"], json!({"/a": {}, "/b": {"schema": {"$ref": "#/definitions/Other_v2"}}}));
        assert_eq!(own["definitions"]["Other"]["type"], "string");
        assert_eq!(own["definitions"]["Other_v2"]["type"], "object");
        assert_eq!(own["definitions"]["New"]["properties"]["o"]["$ref"], "#/definitions/Other_v2");
    }
}
