//! OpenAPI v3: one document per group and version, and those of the discovery endpoints.

use super::custom::{Customs, custom_schemas};
use super::paths::{base, names, paths};
use super::schemas::{closure, collect_references, meta, reference};
use super::words;
use api::schema::Descriptions;
use api::{ResourceDef, ResourceTable};
use machinery::GroupVersion;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const OBJECT: &[&str] = &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

/// Path items by path.
type Paths = BTreeMap<String, Value>;

/// A document's name and what makes its paths.
type Row = (&'static str, fn() -> Paths);

/// The documents that are about no group: name, and what they consist of.
const SITE: &[Row] = &[
    (".well-known/openid-configuration", openid_configuration),
    ("api", || group_list("api", "getCoreAPIVersions", "core", "APIVersions")),
    ("apis", || group_list("apis", "getAPIVersions", "apis", "APIGroupList")),
    ("logs", logs),
    ("openid/v1/jwks", openid_keys),
    ("version", version),
];

/// The names of all documents: `api`, `api/v1`, `apis`, `apis/apps`, `apis/apps/v1`, `version`.
pub(super) fn documents(table: &ResourceTable) -> BTreeSet<String> {
    let mut all: BTreeSet<String> = SITE.iter().map(|(name, _)| (*name).to_owned()).collect();
    for row in table.rows() {
        let gv = row.gvr().group_version();
        all.insert(base(&gv)[1..].to_owned());
        if !gv.group.is_empty() {
            all.insert(format!("apis/{}", gv.group));
        }
    }
    all
}

/// The rows of a group and version.
pub(super) fn rows<'t>(table: &'t ResourceTable, gv: &GroupVersion) -> Vec<&'t Arc<ResourceDef>> {
    table.rows().iter().filter(|row| row.gvr().group_version() == *gv).collect()
}

/// The group and version that a document describes, if it describes one.
pub(super) fn group_version(name: &str) -> Option<GroupVersion> {
    if let Some(version) = name.strip_prefix("api/") {
        return GroupVersion::parse(version).filter(|gv| gv.group.is_empty());
    }
    name.strip_prefix("apis/").and_then(GroupVersion::parse).filter(|gv| !gv.group.is_empty())
}

/// What a document consists of: paths, and schemas that the table lacks.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) paths: Paths,
    pub(super) own: BTreeMap<String, Value>,
}

/// The contents of the document called `name`, which must be one of [`documents`].
pub(super) fn contents(
    table: &ResourceTable,
    customs: &dyn Customs,
    name: &str,
    descriptions: &Descriptions,
) -> Contents {
    if let Some((_, paths)) = SITE.iter().find(|(known, _)| *known == name) {
        return Contents { paths: paths(), ..Contents::default() };
    }
    if let Some(gv) = group_version(name) {
        return of_group_version(&gv, &rows(table, &gv), customs, descriptions);
    }
    let group = GroupVersion::new(name.trim_start_matches("apis/").to_owned(), "");
    let (camel, tag) = names(&group);
    let get = discovery(
        &format!("get{camel}APIGroup"),
        tag.trim_end_matches('_'),
        words::GROUP,
        &reference(&meta("APIGroup")),
        OBJECT,
    );
    Contents { paths: one(&format!("/{name}/"), get), ..Contents::default() }
}

/// The document called `name`, if there is one.
pub(super) fn document(table: &ResourceTable, customs: &dyn Customs, name: &str) -> Option<Value> {
    if !documents(table).contains(name) {
        return None;
    }
    let descriptions = Descriptions::default();
    let contents = contents(table, customs, name, &descriptions);
    let gv = group_version(name);
    let mut gvs = vec![("", "v1")];
    gvs.extend(gv.iter().map(|gv| (gv.group.as_ref(), gv.version.as_ref())).filter(|gv| *gv != ("", "v1")));
    Some(assemble(contents, &gvs, &descriptions))
}

/// The one path of a document, which can only be read.
fn one(path: &str, get: Value) -> Paths {
    BTreeMap::from([(path.to_owned(), json!({ "get": get }))])
}

fn group_list(path: &str, id: &str, tag: &str, answer: &str) -> Paths {
    one(&format!("/{path}/"), discovery(id, tag, words::VERSIONS, &reference(&meta(answer)), OBJECT))
}

fn version() -> Paths {
    let answer = reference("io.k8s.apimachinery.pkg.version.Info");
    one("/version/", discovery("getCodeVersion", "version", words::VERSION, &answer, &OBJECT[..1]))
}

fn openid_configuration() -> Paths {
    let (id, text) = ("getServiceAccountIssuerOpenIDConfiguration", json!({"type": "string"}));
    let get = discovery(id, "WellKnown", words::OPENID_CONFIGURATION, &text, &OBJECT[..1]);
    one("/.well-known/openid-configuration/", get)
}

fn openid_keys() -> Paths {
    let (id, text) = ("getServiceAccountIssuerOpenIDKeyset", json!({"type": "string"}));
    one("/openid/v1/jwks/", discovery(id, "openid", words::OPENID_KEYS, &text, &["application/jwk-set+json"]))
}

fn logs() -> Paths {
    let get = |id: &str| json!({"tags": ["logs"], "operationId": id, "responses": {"401": {"description": "Unauthorized"}}});
    let path = json!({"in": "path", "name": "logpath", "description": words::LOG_PATH, "required": true,
        "schema": {"type": "string", "uniqueItems": true}});
    BTreeMap::from([
        ("/logs/".to_owned(), json!({"get": get("logFileListHandler")})),
        ("/logs/{logpath}".to_owned(), json!({"get": get("logFileHandler"), "parameters": [path]})),
    ])
}

fn discovery(id: &str, tag: &str, words: &str, answer: &Value, types: &[&str]) -> Value {
    let content: Map<String, Value> =
        types.iter().map(|name| ((*name).to_owned(), json!({ "schema": answer }))).collect();
    json!({
        "tags": [tag],
        "description": words,
        "operationId": id,
        "responses": {
            "200": {"description": "OK", "content": content},
            "401": {"description": "Unauthorized"},
        },
    })
}

fn of_group_version(
    gv: &GroupVersion,
    rows: &[&Arc<ResourceDef>],
    customs: &dyn Customs,
    descriptions: &Descriptions,
) -> Contents {
    let (camel, tag) = names(gv);
    let types = [OBJECT[0], OBJECT[1], OBJECT[2], "application/cbor"];
    let (id, answer) = (format!("get{camel}APIResources"), reference(&meta("APIResourceList")));
    let list = discovery(&id, &tag, words::RESOURCES, &answer, &types);
    let mut contents = Contents { paths: one(&format!("{}/", base(gv)), list), ..Contents::default() };
    for row in rows {
        contents.paths.extend(paths(row));
        contents.own.extend(custom_schemas(row, customs, descriptions));
    }
    contents
}

/// A document of `contents`, with the schemas that it refers to.
fn assemble(contents: Contents, gvs: &[(&str, &str)], descriptions: &Descriptions) -> Value {
    let paths: Map<String, Value> = contents.paths.into_iter().collect();
    let paths = Value::Object(paths);
    let mut roots = Vec::new();
    collect_references(&paths, &mut roots);
    contents.own.values().for_each(|schema| collect_references(schema, &mut roots));
    let mut schemas = closure(roots.into_iter().collect(), gvs, descriptions);
    schemas.extend(contents.own);
    let mut components = Map::new();
    if !schemas.is_empty() {
        components.insert("schemas".to_owned(), Value::Object(schemas.into_iter().collect()));
    }
    components.insert(
        "securitySchemes".to_owned(),
        json!({"BearerToken": {
            "type": "apiKey",
            "description": "Bearer Token authentication",
            "name": "authorization",
            "in": "header",
        }}),
    );
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "unversioned"},
        "paths": paths,
        "components": components,
    })
}
