//! OpenAPI v3: one document per group and version, and those of the discovery endpoints.

use super::custom::{Customs, custom_schemas};
use super::paths::{base, names, paths};
use super::schemas::{closure, collect_references, meta, reference};
use api::{ResourceDef, ResourceTable};
use machinery::GroupVersion;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

const OBJECT: &[&str] = &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

/// The names of all documents: `api`, `api/v1`, `apis`, `apis/apps`, `apis/apps/v1`, `version`.
pub(super) fn documents(table: &ResourceTable) -> BTreeSet<String> {
    let mut all = BTreeSet::from(["api".to_owned(), "apis".to_owned(), "version".to_owned()]);
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

/// The document called `name`, if there is one.
pub(super) fn document(table: &ResourceTable, customs: &dyn Customs, name: &str) -> Option<Value> {
    if !documents(table).contains(name) {
        return None;
    }
    if let Some(gv) = group_version(name) {
        return Some(of_group_version(&gv, &rows(table, &gv), customs));
    }
    let (id, tag, answer) = match name {
        "api" => ("getCoreAPIVersions".to_owned(), "core".to_owned(), meta("APIVersions")),
        "apis" => ("getAPIVersions".to_owned(), "apis".to_owned(), meta("APIGroupList")),
        "version" => (
            "getCodeVersion".to_owned(),
            "version".to_owned(),
            "io.k8s.apimachinery.pkg.version.Info".to_owned(),
        ),
        group => {
            let group = GroupVersion::new(group.trim_start_matches("apis/").to_owned(), "");
            let (camel, tag) = names(&group);
            (format!("get{camel}APIGroup"), tag.trim_end_matches('_').to_owned(), meta("APIGroup"))
        }
    };
    let types = if name == "version" { &OBJECT[..1] } else { OBJECT };
    let item = json!({"get": discovery(&id, &tag, &answer, types)});
    let mut paths = Map::new();
    paths.insert(format!("/{name}/"), item);
    Some(assemble(paths, Map::new(), &[]))
}

fn discovery(id: &str, tag: &str, answer: &str, types: &[&str]) -> Value {
    let content: Map<String, Value> =
        types.iter().map(|name| ((*name).to_owned(), json!({"schema": reference(answer)}))).collect();
    json!({
        "tags": [tag],
        "operationId": id,
        "responses": {
            "200": {"description": "OK", "content": content},
            "401": {"description": "Unauthorized"},
        },
    })
}

fn of_group_version(gv: &GroupVersion, rows: &[&Arc<ResourceDef>], customs: &dyn Customs) -> Value {
    let (camel, tag) = names(gv);
    let mut all = Map::new();
    let types = [OBJECT[0], OBJECT[1], OBJECT[2], "application/cbor"];
    let list = discovery(&format!("get{camel}APIResources"), &tag, &meta("APIResourceList"), &types);
    all.insert(format!("{}/", base(gv)), json!({ "get": list }));
    let mut own = Map::new();
    for row in rows {
        all.extend(paths(row));
        own.extend(custom_schemas(row, customs));
    }
    let mut gvs = vec![("", "v1")];
    if (gv.group.as_ref(), gv.version.as_ref()) != ("", "v1") {
        gvs.push((&gv.group, &gv.version));
    }
    assemble(all, own, &gvs)
}

/// A document of `paths`, with the schemas that they refer to. `own` are schemas that the table lacks.
fn assemble(paths: Map<String, Value>, own: Map<String, Value>, gvs: &[(&str, &str)]) -> Value {
    let mut sorted: Vec<(String, Value)> = paths.into_iter().collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    let paths = Value::Object(sorted.into_iter().collect());
    let mut roots = Vec::new();
    collect_references(&paths, &mut roots);
    own.values().for_each(|schema| collect_references(schema, &mut roots));
    let mut schemas = closure(roots.into_iter().collect(), gvs);
    schemas.extend(own);
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "unversioned"},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"BearerToken": {
                "type": "apiKey",
                "description": "Bearer Token authentication",
                "name": "authorization",
                "in": "header",
            }},
        },
    })
}
