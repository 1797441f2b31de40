//! JSON schemas of the built-in types, from the schema table and the descriptions that go with it.

use api::schema::{
    Described, Descriptions, FieldInfo, ListType, MapType, Node, Primitive, Type, TypeId, by_name,
};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Where schemas stand in an OpenAPI 3 document.
const PREFIX: &str = "#/components/schemas/";
const PACKAGE_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const PACKAGE_SCHEMA: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1";

/// A reference to a schema by its full name.
pub(super) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("{PREFIX}{name}") })
}

/// The full name of a type in `metav1`.
pub(super) fn meta(name: &str) -> String {
    format!("{PACKAGE_META}.{name}")
}

/// The full name under which a primitive has a schema of its own.
fn named(primitive: Primitive) -> Option<String> {
    Some(match primitive {
        Primitive::Quantity => "io.k8s.apimachinery.pkg.api.resource.Quantity".to_owned(),
        Primitive::IntOrString => "io.k8s.apimachinery.pkg.util.intstr.IntOrString".to_owned(),
        Primitive::Raw => "io.k8s.apimachinery.pkg.runtime.RawExtension".to_owned(),
        Primitive::Time => meta("Time"),
        Primitive::MicroTime => meta("MicroTime"),
        Primitive::Fields => meta("FieldsV1"),
        Primitive::Json => format!("{PACKAGE_SCHEMA}.JSON"),
        Primitive::SchemaOrArray => format!("{PACKAGE_SCHEMA}.JSONSchemaPropsOrArray"),
        Primitive::SchemaOrBool => format!("{PACKAGE_SCHEMA}.JSONSchemaPropsOrBool"),
        Primitive::SchemaOrStrings => format!("{PACKAGE_SCHEMA}.JSONSchemaPropsOrStringArray"),
        Primitive::String
        | Primitive::Int32
        | Primitive::Int64
        | Primitive::Bool
        | Primitive::Double
        | Primitive::Bytes => return None,
    })
}

fn inline(primitive: Primitive) -> Value {
    match primitive {
        Primitive::Int32 => json!({"type": "integer", "format": "int32"}),
        Primitive::Int64 => json!({"type": "integer", "format": "int64"}),
        Primitive::Bool => json!({"type": "boolean"}),
        Primitive::Double => json!({"type": "number", "format": "double"}),
        Primitive::Bytes => json!({"type": "string", "format": "byte"}),
        _ => json!({"type": "string"}),
    }
}

/// The schema that stands under a primitive's or another special name.
fn special(name: &str) -> Option<Value> {
    let name = name.rsplit_once('.').map_or(name, |(_, name)| name);
    Some(match name {
        "Quantity" => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        "IntOrString" => {
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
        }
        "Time" | "MicroTime" => json!({"type": "string", "format": "date-time"}),
        "FieldsV1" | "RawExtension" | "Patch" => json!({"type": "object"}),
        "JSON" | "JSONSchemaPropsOrArray" | "JSONSchemaPropsOrBool" | "JSONSchemaPropsOrStringArray" => {
            json!({})
        }
        _ => return None,
    })
}

fn node(at: Node) -> Value {
    match at.ty() {
        Type::Primitive(primitive) => {
            named(*primitive).map_or_else(|| inline(*primitive), |name| reference(&name))
        }
        Type::Struct { id, .. } => reference(&id.full_name()),
        Type::List { element, .. } => json!({"type": "array", "items": node(*element)}),
        Type::Map { element, .. } => json!({"type": "object", "additionalProperties": node(*element)}),
    }
}

fn field(info: &FieldInfo, description: Option<&str>) -> Value {
    let mut schema = node(info.node);
    let Some(map) = schema.as_object_mut() else { return schema };
    if let Some(text) = description.filter(|_| !info.bare) {
        map.insert("description".to_owned(), json!(text));
    }
    // A reference may have no siblings such as a default or a description.
    if !info.bare
        && let Some(to) = map.shift_remove("$ref")
    {
        map.insert("allOf".to_owned(), json!([{ "$ref": to }]));
    }
    if !info.values.is_empty() {
        let of = if map.contains_key("items") {
            map.get_mut("items").and_then(Value::as_object_mut)
        } else {
            Some(&mut *map)
        };
        if let Some(of) = of {
            of.insert("enum".to_owned(), json!(info.values));
        }
    }
    if let Some(default) = &info.default {
        map.insert("default".to_owned(), default.clone());
    }
    let mut put = |name: &str, value: Value| {
        map.insert(format!("x-kubernetes-{name}"), value);
    };
    match info.node.ty() {
        Type::List { kind: ListType::Atomic, .. } => put("list-type", json!("atomic")),
        Type::List { kind: ListType::Set, .. } => put("list-type", json!("set")),
        Type::List { kind: ListType::Keys(keys), .. } => {
            put("list-type", json!("map"));
            put("list-map-keys", json!(keys));
        }
        Type::Primitive(Primitive::Bytes) if info.atomic => put("list-type", json!("atomic")),
        Type::Map { kind: Some(kind), .. } | Type::Struct { at_field: Some(kind), .. } => {
            put("map-type", json!(if *kind == MapType::Atomic { "atomic" } else { "granular" }));
        }
        _ => {}
    }
    let strategies: Vec<&str> =
        [(info.merge, "merge"), (info.retain_keys, "retainKeys"), (info.replace, "replace")]
            .into_iter()
            .filter_map(|(set, name)| set.then_some(name))
            .collect();
    if !strategies.is_empty() {
        put("patch-strategy", json!(strategies.join(",")));
    }
    if let Some(key) = info.merge_key {
        put("patch-merge-key", json!(key));
    }
    schema
}

/// What is said about `apiVersion` and `kind` of every object, and in our words about the rest of a list, which the
/// descriptions do not know.
fn list_field(name: &str, words: &Descriptions) -> Option<&'static str> {
    match name {
        "items" => Some("The objects of the list."),
        "metadata" => Some("Metadata of the list: its resource version and where it goes on."),
        name => words.of("io.k8s.api.core.v1.ConfigMap")?.field(name),
    }
}

/// The description of a list of `kind`.
pub(super) fn list_description(list_kind: &str, kind: &str) -> String {
    format!("{list_kind} is a list of {kind} objects.")
}

/// The properties that every list has, for the list of a custom resource.
pub(super) fn list_properties(item: &str, words: &Descriptions) -> Value {
    let mut properties = json!({
        "apiVersion": {"type": "string"},
        "items": {"type": "array", "items": reference(item)},
        "kind": {"type": "string"},
        "metadata": {"allOf": [reference(&meta("ListMeta"))]},
    });
    for (name, schema) in properties.as_object_mut().into_iter().flatten() {
        if let (Some(schema), Some(text)) = (schema.as_object_mut(), list_field(name, words)) {
            schema.insert("description".to_owned(), json!(text));
        }
    }
    properties
}

/// The schema of a struct type; `gvs` are the group and version pairs that types of every group name.
fn structure(id: TypeId, gvs: &[(&str, &str)], words: &Descriptions) -> Value {
    let mut schema = Map::new();
    let described: Option<Described> = words.of(&id.full_name());
    let list = if described.is_none() { id.name().strip_suffix("List") } else { None };
    let text = match (described, list) {
        (Some(described), _) => described.text.to_owned(),
        (None, Some(kind)) => list_description(id.name(), kind),
        (None, None) => String::new(),
    };
    if !text.is_empty() {
        schema.insert("description".to_owned(), json!(text));
    }
    schema.insert("type".to_owned(), json!("object"));
    if !id.fields().is_empty() {
        let said = |name: &str| match described {
            Some(described) => described.field(name),
            None => list.and_then(|_| list_field(name, words)),
        };
        let properties: Map<String, Value> =
            id.fields().iter().map(|info| (info.name.to_owned(), field(info, said(info.name)))).collect();
        schema.insert("properties".to_owned(), Value::Object(properties));
    }
    let required: Vec<&str> = id.fields().iter().filter(|f| f.required).map(|f| f.name).collect();
    if !required.is_empty() {
        schema.insert("required".to_owned(), json!(required));
    }
    if id.is_atomic() {
        schema.insert("x-kubernetes-map-type".to_owned(), json!("atomic"));
    }
    if !id.unions().is_empty() {
        let unions: Vec<Value> = id.unions().iter().map(union).collect();
        schema.insert("x-kubernetes-unions".to_owned(), json!(unions));
    }
    let kinds: Vec<Value> = if id.is_everywhere() {
        gvs.iter()
            .map(|(group, version)| json!({"group": group, "kind": id.name(), "version": version}))
            .collect()
    } else {
        let own = id.gvk();
        own.iter().map(|gvk| json!({"group": gvk.group, "kind": gvk.kind, "version": gvk.version})).collect()
    };
    if !kinds.is_empty() {
        schema.insert("x-kubernetes-group-version-kind".to_owned(), json!(kinds));
    }
    Value::Object(schema)
}

fn union(union: &api::schema::Union) -> Value {
    let fields: Map<String, Value> =
        union.fields.iter().map(|(field, value)| ((*field).to_owned(), json!(value))).collect();
    let mut out = Map::new();
    if let Some(discriminator) = union.discriminator {
        out.insert("discriminator".to_owned(), json!(discriminator));
    }
    out.insert("fields-to-discriminateBy".to_owned(), Value::Object(fields));
    Value::Object(out)
}

/// The schemas called `roots` and everything that they refer to, by full name, sorted.
pub(super) fn closure(
    roots: BTreeSet<String>,
    gvs: &[(&str, &str)],
    words: &Descriptions,
) -> BTreeMap<String, Value> {
    let mut done = BTreeMap::new();
    let mut open: Vec<String> = roots.into_iter().collect();
    while let Some(name) = open.pop() {
        if done.contains_key(&name) {
            continue;
        }
        let schema = match (special(&name), by_name(&name)) {
            (Some(mut schema), _) => {
                if let (Some(described), Some(map)) = (words.of(&name), schema.as_object_mut()) {
                    map.insert("description".to_owned(), json!(described.text));
                }
                schema
            }
            (None, Some(id)) => structure(id, gvs, words),
            (None, None) => continue,
        };
        collect_references(&schema, &mut open);
        done.insert(name, schema);
    }
    done
}

/// Appends the names of the schemas that `value` refers to.
pub(super) fn collect_references(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(target) if key == "$ref" => {
                        into.extend(target.strip_prefix(PREFIX).map(str::to_owned));
                    }
                    value => collect_references(value, into),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, into)),
        _ => {}
    }
}
