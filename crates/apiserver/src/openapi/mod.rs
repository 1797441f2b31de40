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
//! | `GET /openapi/v2` | [`OpenApi::v2`] |
//!
//! Every answer carries `ETag: "<hash>"`, answers 304 to an equal `If-None-Match`, and `Vary: Accept,
//! Accept-Encoding`. Building a document takes milliseconds of computing, so call these from
//! `spawn_blocking`; built documents stay, compressed.
//!
//! Deliberately absent: HTTP.

mod custom;
mod operations;
mod paths;
mod proto;
mod proto_v2;
mod proto_v3;
mod schemas;
mod v2;
mod v3;
mod words;

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
use std::io::{Read, Write};
use std::sync::Arc;

/// Raised whenever the same tables make other documents, so that clients do not keep the old ones.
const REVISION: &str = "3";

/// How a document is encoded. Both have the same hash, as upstream's do: the media type is part of what is varied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// JSON.
    Json,
    /// The gnostic project's protobuf.
    Proto,
}

/// One document, kept compressed.
#[derive(Clone, Debug)]
pub struct Document {
    /// Changes whenever the document does; the value of its entity tag, without quotes.
    pub hash: String,
    /// It, gzipped.
    pub gzip: Bytes,
}

impl Document {
    /// Compresses what `write` writes.
    pub(crate) fn new(hash: String, write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Self {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        // Writing to memory does not fail.
        let _ = write(&mut encoder);
        let mut gzip = encoder.finish().unwrap_or_default();
        gzip.shrink_to_fit();
        Self { hash, gzip: gzip.into() }
    }

    /// It, for clients that do not take gzip.
    pub fn plain(&self) -> Vec<u8> {
        let mut out = Vec::new();
        // Our own compressor made it.
        let _ = GzDecoder::new(&*self.gzip).read_to_end(&mut out);
        out
    }
}

/// Writes the v2 document as JSON.
struct Json<'w> {
    out: &'w mut dyn Write,
    section: &'static str,
    failed: std::io::Result<()>,
}

impl Json<'_> {
    fn put(&mut self, section: &'static str, name: &str, value: &Value) {
        let mut write = || {
            if self.section == section {
                self.out.write_all(b",")?;
            } else {
                let end = if self.section.is_empty() { "" } else { "}," };
                write!(self.out, "{end}\"{section}\":{{")?;
                self.section = section;
            }
            write!(self.out, "{}:", Value::from(name))?;
            serde_json::to_writer(&mut *self.out, value)?;
            Ok(())
        };
        if self.failed.is_ok() {
            self.failed = write();
        }
    }
}

impl v2::Sink for Json<'_> {
    fn path(&mut self, path: &str, item: &Value) {
        self.put("paths", path, item);
    }

    fn definition(&mut self, name: &str, definition: &Value) {
        self.put("definitions", name, definition);
    }
}

fn swagger(
    table: &ResourceTable,
    customs: &dyn Customs,
    version: &str,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let head = v2::head(version).to_string();
    // Its last brace comes at the end.
    write!(out, "{},", &head[..head.len() - 1])?;
    let mut json = Json { out, section: "", failed: Ok(()) };
    v2::walk(table, customs, &mut json);
    json.failed?;
    out.write_all(b"}}")
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
    add(REVISION);
    add(api::schema::FINGERPRINT);
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

/// The index of the v3 documents: where each is, with its hash. Computed without building them.
fn index(table: &ResourceTable, customs: &dyn Customs) -> Value {
    let mut paths = Map::new();
    for name in v3::documents(table) {
        let hash = fingerprint(table, customs, &name);
        paths.insert(name.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{name}?hash={hash}")}));
    }
    json!({ "paths": paths })
}

/// The documents of one snapshot of the resource table, built when first asked for. May be shared between
/// threads; two that ask for the same document at the same time may both build it.
pub struct OpenApi {
    table: Arc<ResourceTable>,
    customs: Arc<dyn Customs>,
    version: String,
    built: Mutex<HashMap<(String, Format), Arc<Document>>>,
}

impl OpenApi {
    /// Documents of `table` and the schemas that `customs` has now. `version` is the server's.
    pub fn new(table: Arc<ResourceTable>, customs: Arc<dyn Customs>, version: &str) -> Self {
        Self { table, customs, version: version.to_owned(), built: Mutex::default() }
    }

    fn cached(
        &self,
        name: &str,
        format: Format,
        build: impl FnOnce() -> Option<Document>,
    ) -> Option<Arc<Document>> {
        let key = (name.to_owned(), format);
        if let Some(document) = self.built.lock().get(&key) {
            return Some(document.clone());
        }
        let document = Arc::new(build()?);
        self.built.lock().insert(key, document.clone());
        Some(document)
    }

    /// The index of v3 documents.
    pub fn index(&self) -> Arc<Document> {
        let build = || {
            let index = index(&self.table, &*self.customs).to_string();
            let hash = hex(&Sha512::digest(index.as_bytes()));
            Document::new(hash, |out| out.write_all(index.as_bytes()))
        };
        self.cached("v3", Format::Json, || Some(build())).unwrap_or_else(|| Arc::new(build()))
    }

    /// The v3 document called `name` (`api/v1`, `apis/apps/v1`, `version`), `None` when there is none.
    pub fn v3(&self, name: &str, format: Format) -> Option<Arc<Document>> {
        self.cached(&format!("v3/{name}"), format, || {
            let value = v3::document(&self.table, &*self.customs, name)?;
            let hash = fingerprint(&self.table, &*self.customs, name);
            Some(Document::new(hash, |out| match format {
                Format::Json => Ok(serde_json::to_writer(out, &value)?),
                Format::Proto => out.write_all(&proto_v3::encode(&value)),
            }))
        })
    }

    /// The v2 document.
    pub fn v2(&self, format: Format) -> Arc<Document> {
        let build = || {
            let names = v3::documents(&self.table);
            let all: Vec<String> =
                names.iter().map(|name| fingerprint(&self.table, &*self.customs, name)).collect();
            let hash = hex(&Sha512::digest(format!("{} {}", self.version, all.concat()).as_bytes()));
            Document::new(hash, |out| match format {
                Format::Json => swagger(&self.table, &*self.customs, &self.version, out),
                Format::Proto => {
                    let mut writer = proto_v2::Writer::default();
                    v2::walk(&self.table, &*self.customs, &mut writer);
                    out.write_all(&writer.finish(&v2::head(&self.version)))
                }
            })
        };
        self.cached("v2", format, || Some(build())).unwrap_or_else(|| Arc::new(build()))
    }
}

#[cfg(test)]
mod tests;
