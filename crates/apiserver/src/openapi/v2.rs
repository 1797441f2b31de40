//! OpenAPI v2 (`/openapi/v2`): the v3 documents of all groups in one, in the older form.

use super::custom::Customs;
use super::v3;
use api::ResourceTable;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The whole document. `version` is the server's, such as `v1.36.0`.
pub(super) fn document(table: &ResourceTable, customs: &dyn Customs, version: &str) -> Value {
    let mut paths = BTreeMap::new();
    let mut definitions: BTreeMap<String, Value> = BTreeMap::new();
    for name in v3::documents(table) {
        let Some(Value::Object(mut document)) = v3::document(table, customs, &name) else { continue };
        if let Some(Value::Object(items)) = document.shift_remove("paths") {
            paths.extend(items.into_iter().map(|(path, item)| (path, path_item(item))));
        }
        let schemas = document.get_mut("components").and_then(|c| c.get_mut("schemas")).map(Value::take);
        if let Some(Value::Object(schemas)) = schemas {
            for (name, schema) in schemas {
                let mut schema = definition(&name, schema);
                // Types of every group say so in each document with the groups of that document.
                if let Some(Value::Array(kinds)) = definitions.get_mut(&name).and_then(|s| s.get_mut(KINDS)) {
                    let known = std::mem::take(kinds);
                    if let Some(Value::Array(more)) = schema.get_mut(KINDS) {
                        let new: Vec<Value> = more.drain(..).filter(|kind| !known.contains(kind)).collect();
                        more.extend(known);
                        more.extend(new);
                    }
                }
                definitions.insert(name, schema);
            }
        }
    }
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": version},
        "paths": paths.into_iter().collect::<Map<_, _>>(),
        "definitions": definitions.into_iter().collect::<Map<_, _>>(),
        "securityDefinitions": {"BearerToken": {
            "description": "Bearer Token authentication",
            "type": "apiKey",
            "name": "authorization",
            "in": "header",
        }},
        "security": [{"BearerToken": []}],
    })
}

const KINDS: &str = "x-kubernetes-group-version-kind";

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
    operation.insert("consumes".to_owned(), json!(consumes));
    operation.insert("produces".to_owned(), json!(produces));
    if !list.is_empty() {
        operation.insert("parameters".to_owned(), Value::Array(list));
    }
    operation.insert("responses".to_owned(), Value::Object(responses));
    Value::Object(operation)
}

/// A schema in the older form: no defaults, no `oneOf`, references without siblings.
fn definition(name: &str, mut schema: Value) -> Value {
    if name.ends_with(".Quantity") {
        return json!({"type": "string"});
    }
    if name.ends_with(".IntOrString") {
        return json!({"type": "string", "format": "int-or-string"});
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
