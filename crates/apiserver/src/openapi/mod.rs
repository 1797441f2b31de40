//! OpenAPI: `/openapi/v3`, `/openapi/v3/<document>` and `/openapi/v2`, from the resource table and the schema
//! table. kubectl's validation, `kubectl explain` and client-side strategic merges rest on them.
//!
//! How to serve them, with one [`OpenApi`] per snapshot of the resource table (make a new one when custom
//! resources change; it is cheap until asked):
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /openapi/v3` | [`OpenApi::index`] as `application/json` |
//! | `GET /openapi/v3/{name}` | [`OpenApi::v3`]: 404 when `None` |
//! | … with `?hash=` equal to [`Document::hash`] | the same with `Cache-Control: public, immutable` |
//! | … with another `?hash=` | 301 to the same path with the right hash |
//! | `GET /openapi/v2` | [`OpenApi::v2`]; its protobuf form is made of it where the request is answered |
//!
//! Every answer carries `ETag: "<hash>"`, answers 304 to an equal `If-None-Match`, and `Vary: Accept,
//! Accept-Encoding`. Building a document takes milliseconds of computing, so call these from
//! `spawn_blocking`; built documents stay, compressed.
//!
//! Deliberately absent: descriptions (see GAPS.md), protobuf forms, HTTP.

mod custom;
mod operations;
mod paths;
mod schemas;
mod v2;
mod v3;

pub use custom::{Customs, NoCustoms};

use api::ResourceTable;
use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::sync::Arc;

/// One document, kept compressed.
#[derive(Clone, Debug)]
pub struct Document {
    /// Changes whenever the document does; the value of its entity tag, without quotes.
    pub hash: String,
    /// Its JSON, gzipped.
    pub gzip: Bytes,
}

impl Document {
    fn new(value: &Value, hash: String) -> Self {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        // Writing to memory does not fail.
        let _ = encoder.write_all(value.to_string().as_bytes());
        Self { hash, gzip: encoder.finish().unwrap_or_default().into() }
    }

    /// Its JSON, for clients that do not take gzip.
    pub fn json(&self) -> Vec<u8> {
        let mut out = Vec::new();
        // Our own compressor made it.
        let _ = GzDecoder::new(&*self.gzip).read_to_end(&mut out);
        out
    }
}

/// The index of the v3 documents: where each is, with its hash. Computed without building them.
pub fn index(table: &ResourceTable, customs: &dyn Customs) -> Value {
    let mut paths = Map::new();
    for name in v3::documents(table) {
        let hash = fingerprint(table, customs, &name);
        paths.insert(name.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{name}?hash={hash}")}));
    }
    json!({ "paths": paths })
}

/// The v3 document called `name` (`api/v1`, `apis/apps/v1`, `version`), if there is one.
pub fn document(table: &ResourceTable, customs: &dyn Customs, name: &str) -> Option<Value> {
    v3::document(table, customs, name)
}

/// The v2 document. `version` is the server's, such as `v1.36.0`.
pub fn swagger(table: &ResourceTable, customs: &dyn Customs, version: &str) -> Value {
    v2::document(table, customs, version)
}

/// Identifies a document's contents: they follow from this program's version, the rows of the resource table
/// and the schemas of custom resources.
fn fingerprint(table: &ResourceTable, customs: &dyn Customs, name: &str) -> String {
    let mut hasher = Sha512::new();
    let mut add = |text: &str| {
        hasher.update(text.as_bytes());
        hasher.update([0]);
    };
    add(env!("CARGO_PKG_VERSION"));
    add(name);
    if let Some(gv) = v3::group_version(name) {
        for row in v3::rows(table, &gv) {
            add(&format!(
                "{} {} {} {} {:?} {:?}",
                row.plural, row.gvk, row.list_kind, row.namespaced, row.verbs, row.subresources
            ));
            if let Some(schema) = customs.schema(&row.gvk) {
                add(&schema.to_string());
            }
        }
    }
    hex(&hasher.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02X}");
        text
    })
}

/// The documents of one snapshot of the resource table, built when first asked for. May be shared between
/// threads; two that ask for the same document at the same time may both build it.
pub struct OpenApi {
    table: Arc<ResourceTable>,
    customs: Arc<dyn Customs>,
    version: String,
    built: Mutex<HashMap<String, Arc<Document>>>,
}

impl OpenApi {
    /// Documents of `table` and the schemas that `customs` has now. `version` is the server's.
    pub fn new(table: Arc<ResourceTable>, customs: Arc<dyn Customs>, version: &str) -> Self {
        Self { table, customs, version: version.to_owned(), built: Mutex::default() }
    }

    fn cached(&self, key: &str, build: impl FnOnce() -> Option<Document>) -> Option<Arc<Document>> {
        if let Some(document) = self.built.lock().get(key) {
            return Some(document.clone());
        }
        let document = Arc::new(build()?);
        self.built.lock().insert(key.to_owned(), document.clone());
        Some(document)
    }

    /// The index of v3 documents.
    pub fn index(&self) -> Arc<Document> {
        let build = || {
            let index = index(&self.table, &*self.customs);
            let hash = hex(&Sha512::digest(index.to_string().as_bytes()));
            Document::new(&index, hash)
        };
        self.cached("v3", || Some(build())).unwrap_or_else(|| Arc::new(build()))
    }

    /// The v3 document called `name`, `None` when there is none.
    pub fn v3(&self, name: &str) -> Option<Arc<Document>> {
        self.cached(&format!("v3/{name}"), || {
            let value = document(&self.table, &*self.customs, name)?;
            Some(Document::new(&value, fingerprint(&self.table, &*self.customs, name)))
        })
    }

    /// The v2 document.
    pub fn v2(&self) -> Arc<Document> {
        let build = || {
            let value = swagger(&self.table, &*self.customs, &self.version);
            let hash = hex(&Sha512::digest(value.to_string().as_bytes()));
            Document::new(&value, hash)
        };
        self.cached("v2", || Some(build())).unwrap_or_else(|| Arc::new(build()))
    }
}

#[cfg(test)]
mod tests;
