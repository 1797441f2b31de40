//! OpenAPI v2 (`/openapi/v2`): what the v3 documents of all groups say, in one and in the older form.

use super::custom::Customs;
use super::schemas::{closure, collect_references};
use super::v3;
use api::ResourceTable;
use api::schema::Descriptions;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Groups and versions whose clients send `DeleteOptions` and read `WatchEvent`s: all that upstream's types were
/// ever registered in, those included that are not served any more.
const REGISTERED: &str = "v1 admission.k8s.io/v1,v1beta1 admissionregistration.k8s.io/v1,v1alpha1,v1beta1 \
    apiextensions.k8s.io/v1,v1beta1 apiregistration.k8s.io/v1,v1beta1 apps/v1,v1beta1,v1beta2 \
    authentication.k8s.io/v1,v1alpha1,v1beta1 authorization.k8s.io/v1,v1beta1 autoscaling/v1,v2 batch/v1,v1beta1 \
    certificates.k8s.io/v1,v1alpha1,v1beta1 coordination.k8s.io/v1,v1alpha2,v1beta1 discovery.k8s.io/v1,v1beta1 \
    events.k8s.io/v1,v1beta1 extensions/v1beta1 flowcontrol.apiserver.k8s.io/v1,v1beta1,v1beta2,v1beta3 \
    imagepolicy.k8s.io/v1alpha1 internal.apiserver.k8s.io/v1alpha1 networking.k8s.io/v1,v1beta1 \
    node.k8s.io/v1,v1alpha1,v1beta1 policy/v1,v1beta1 rbac.authorization.k8s.io/v1,v1alpha1,v1beta1 \
    resource.k8s.io/v1,v1alpha3,v1beta1,v1beta2 scheduling.k8s.io/v1,v1alpha2,v1beta1 \
    storage.k8s.io/v1,v1alpha1,v1beta1 storagemigration.k8s.io/v1beta1";

/// What takes a document piece by piece, so that it never stands in memory as a whole: paths first, then
/// definitions.
pub(super) trait Sink {
    /// A path.
    fn path(&mut self, path: &str, item: &Value);
    /// A definition.
    fn definition(&mut self, name: &str, definition: &Value);
}

/// Everything but paths and definitions. `version` is the server's, such as `v1.36.0`.
pub(super) fn head(version: &str) -> Value {
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": version},
        "securityDefinitions": {"BearerToken": {
            "description": "Bearer Token authentication",
            "type": "apiKey",
            "name": "authorization",
            "in": "header",
        }},
        "security": [{"BearerToken": []}],
    })
}

/// Hands the paths and definitions of all resources to `sink`.
pub(super) fn walk(table: &ResourceTable, customs: &dyn Customs, sink: &mut dyn Sink) {
    let descriptions = Descriptions::default();
    let mut roots = Vec::new();
    let mut own: BTreeMap<String, Value> = BTreeMap::new();
    for name in v3::documents(table) {
        let contents = v3::contents(table, customs, &name, &descriptions);
        contents.own.values().for_each(|schema| collect_references(schema, &mut roots));
        own.extend(contents.own);
        for (path, item) in contents.paths {
            collect_references(&item, &mut roots);
            sink.path(&path, &path_item(item));
        }
        roots.sort_unstable();
        roots.dedup();
    }
    let mut gvs: Vec<(&str, &str)> = REGISTERED
        .split_whitespace()
        .flat_map(|text| {
            let (group, versions) = text.split_once('/').unwrap_or(("", text));
            versions.split(',').map(move |version| (group, version))
        })
        .collect();
    for row in table.custom() {
        let gv = (row.gvk.group.as_ref(), row.gvk.version.as_ref());
        if !gvs.contains(&gv) {
            gvs.push(gv);
        }
    }
    let mut all = closure(BTreeSet::from_iter(roots), &gvs, &descriptions);
    for (name, mut schema) in own {
        simplify(&mut schema, 0);
        all.insert(name, schema);
    }
    for (name, schema) in all {
        sink.definition(&name, &definition(&name, schema));
    }
}

/// Deepest nesting that is looked at; definitions of custom resources allow less.
const MAX_DEPTH: usize = 128;

/// Takes out of a custom resource's schema what the older form has no word for, or what kubectl cannot read there
/// (upstream's `ToStructuralOpenAPIV2`): junctors, types of values that may be null, fields of objects whose unknown
/// fields are kept, lists of anything.
fn simplify(schema: &mut Value, depth: usize) {
    let Some(map) = schema.as_object_mut().filter(|_| depth < MAX_DEPTH) else { return };
    // Metadata is a reference in this form.
    if map.get("allOf").is_some_and(|all| all.pointer("/0/$ref").is_some()) {
        return;
    }
    for junctor in ["allOf", "anyOf", "oneOf", "not"] {
        map.shift_remove(junctor);
    }
    let is_null = |schema: &Value| schema["nullable"] == true;
    let nullable: Vec<String> = map
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter(|(_, inner)| is_null(inner))
        .map(|(name, _)| name.clone())
        .collect();
    if let Some(required) = map.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| !nullable.iter().any(|null| name == null));
    }
    let no_more = map.get("required").and_then(Value::as_array).is_some_and(Vec::is_empty);
    if no_more || map.get("additionalProperties").is_some_and(is_null) {
        map.shift_remove("required");
    }
    let keeps = map.get("x-kubernetes-preserve-unknown-fields").is_some_and(|keeps| keeps == true);
    let was_nullable = map.shift_remove("nullable").is_some_and(|nullable| nullable == true);
    if was_nullable || keeps {
        map.shift_remove("items");
        map.shift_remove("properties");
    }
    let kind = map.get("type").and_then(Value::as_str).unwrap_or_default();
    if was_nullable || (kind == "array" && !map.contains_key("items")) || (kind == "object" && keeps) {
        map.shift_remove("type");
    }
    for (key, inner) in map.iter_mut() {
        match (key.as_str(), inner) {
            ("properties", Value::Object(fields)) => {
                fields.values_mut().for_each(|inner| simplify(inner, depth + 1));
            }
            ("items" | "additionalProperties", inner) => simplify(inner, depth + 1),
            _ => {}
        }
    }
}

fn path_item(item: Value) -> Value {
    let Value::Object(item) = item else { return item };
    item.into_iter()
        .map(|(method, value)| {
            let value = if method == "parameters" { parameters(value) } else { operation(value) };
            (method, value)
        })
        .collect::<Map<_, _>>()
        .into()
}

fn parameters(list: Value) -> Value {
    let Value::Array(list) = list else { return list };
    list.into_iter()
        .map(|mut parameter| {
            let schema = parameter.as_object_mut().and_then(|p| p.shift_remove("schema"));
            if let (Some(into), Some(Value::Object(schema))) = (parameter.as_object_mut(), schema) {
                into.extend(schema);
            }
            parameter
        })
        .collect()
}

fn media_types(content: &Value) -> Vec<String> {
    content.as_object().into_iter().flat_map(|content| content.keys().cloned()).collect()
}

/// The first schema of a body or response; all media types have the same one.
fn schema(content: &Value) -> Option<Value> {
    let mut schema = content.as_object()?.values().next()?.get("schema")?.clone();
    rewrite(&mut schema);
    Some(schema)
}

fn operation(operation: Value) -> Value {
    let Value::Object(mut operation) = operation else { return operation };
    let mut list = match operation.shift_remove("parameters").map(parameters) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    };
    let mut consumes = vec!["*/*".to_owned()];
    if let Some(body) = operation.shift_remove("requestBody") {
        let content = &body["content"];
        consumes = media_types(content);
        let mut parameter = json!({"in": "body", "name": "body", "schema": schema(content)});
        if body["required"] == true {
            parameter["required"] = json!(true);
        }
        list.insert(0, parameter);
    }
    let mut produces = Vec::new();
    let mut responses = Map::new();
    if let Some(Value::Object(all)) = operation.shift_remove("responses") {
        for (code, response) in all {
            let mut out = json!({"description": response["description"]});
            if let Some(schema) = response.get("content").and_then(schema) {
                out["schema"] = schema;
            }
            if code == "200" {
                produces = response.get("content").map(media_types).unwrap_or_default();
            }
            responses.insert(code, out);
        }
    }
    if !operation.contains_key("x-kubernetes-action") {
        consumes.clone_from(&produces);
    }
    operation.insert("schemes".to_owned(), json!(["https"]));
    let tag = operation.get("tags").and_then(|tags| tags[0].as_str());
    if !matches!(tag, Some("WellKnown" | "logs" | "openid")) {
        operation.insert("consumes".to_owned(), json!(consumes));
    }
    if !produces.is_empty() {
        operation.insert("produces".to_owned(), json!(produces));
    }
    if !list.is_empty() {
        operation.insert("parameters".to_owned(), Value::Array(list));
    }
    operation.insert("responses".to_owned(), Value::Object(responses));
    Value::Object(operation)
}

/// A schema in the older form: no defaults, no `oneOf`, references without siblings.
fn definition(name: &str, mut schema: Value) -> Value {
    if name.ends_with(".Quantity") || name.ends_with(".IntOrString") {
        let Some(map) = schema.as_object_mut() else { return schema };
        map.shift_remove("oneOf");
        map.insert("type".to_owned(), json!("string"));
    }
    rewrite(&mut schema);
    schema
}

fn rewrite(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Array(all)) = map.get("allOf")
                && let [Value::Object(only)] = all.as_slice()
                && let Some(to) = only.get("$ref").cloned()
            {
                map.shift_remove("allOf");
                map.insert("$ref".to_owned(), to);
            }
            map.shift_remove("default");
            for (key, value) in map.iter_mut() {
                match value {
                    Value::String(target) if key == "$ref" => {
                        *target = target.replacen("#/components/schemas/", "#/definitions/", 1);
                    }
                    // Names of fields, which may be any word.
                    Value::Object(fields) if key == "properties" => fields.values_mut().for_each(rewrite),
                    value => rewrite(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(rewrite),
        _ => {}
    }
}
