//! What upstream's Go types make of a document: decoded and encoded again, values that are zero are gone where a type
//! cannot tell zero from unset, and quantities are in their canonical form.
//!
//! Source: API conventions, "Optional vs. Required"; Go's `omitempty`. Deliberately absent: empty structs that Go
//! writes though nobody set them (`resources: {}`); lists that are required stay as they are.

use super::{FieldInfo, Node, Primitive, Type, TypeId, lookup};
use machinery::{GroupVersionKind, quantity};
use serde_json::{Map, Value, json};

/// Brings an object of a built-in kind into the form in which upstream stores it. Objects of other kinds stay as they
/// are. The depth is that of the document, which decoding bounds.
pub fn canonicalize(gvk: &GroupVersionKind, object: &mut Value) {
    if let (Some(id), Value::Object(map)) = (lookup(gvk), object) {
        fields(id, map);
    }
}

fn fields(id: TypeId, map: &mut Map<String, Value>) {
    map.retain(|name, found| match id.field(name) {
        Some(field) => {
            value(field.node, found);
            !is_unset(field, found)
        }
        None => true,
    });
}

/// Whether Go would leave the field out.
pub(crate) fn is_unset(field: &FieldInfo, value: &Value) -> bool {
    match (field.node.ty(), value) {
        (_, Value::Null) => true,
        // A value of any kind: `false` and `[]` are values.
        (Type::Primitive(Primitive::Raw | Primitive::Json | Primitive::Fields), _) => false,
        (Type::List { .. }, Value::Array(items)) => items.is_empty() && !field.required,
        (Type::Map { .. }, Value::Object(entries)) => entries.is_empty() && !field.required,
        // Times are structs, but have no form for zero.
        (Type::Primitive(Primitive::Time | Primitive::MicroTime), Value::String(text)) => text.is_empty(),
        _ if field.pointer || field.kept || field.required => false,
        (Type::Primitive(Primitive::String | Primitive::Bytes), Value::String(text)) => text.is_empty(),
        (Type::Primitive(Primitive::Bool), Value::Bool(flag)) => !flag,
        (Type::Primitive(Primitive::Int32 | Primitive::Int64 | Primitive::Double), Value::Number(number)) => {
            number.as_f64() == Some(0.0)
        }
        _ => false,
    }
}

fn value(node: Node, found: &mut Value) {
    match (node.ty(), found) {
        (Type::Struct { id, .. }, Value::Object(map)) => fields(*id, map),
        (Type::List { element, .. }, Value::Array(items)) => {
            for item in items {
                element_value(*element, item);
            }
        }
        (Type::Map { element, .. }, Value::Object(map)) => {
            for (_, item) in map {
                element_value(*element, item);
            }
        }
        (Type::Primitive(Primitive::Quantity), found) => quantity(found),
        (
            Type::Primitive(Primitive::SchemaOrArray | Primitive::SchemaOrBool | Primitive::SchemaOrStrings),
            found,
        ) => schema(found),
        _ => {}
    }
}

/// `null` as an item or a map's value is the zero value in Go.
fn element_value(node: Node, item: &mut Value) {
    if item.is_null() {
        *item = zero(node);
    }
    value(node, item);
}

/// The zero value of a type; `null` where there is none.
pub(crate) fn zero(node: Node) -> Value {
    match node.ty() {
        Type::Primitive(Primitive::Bool) => Value::Bool(false),
        Type::Primitive(Primitive::Int32 | Primitive::Int64 | Primitive::Double | Primitive::IntOrString) => {
            json!(0)
        }
        Type::Primitive(Primitive::Quantity) => json!("0"),
        Type::Primitive(Primitive::String | Primitive::Bytes) => json!(""),
        Type::Primitive(_) => Value::Null,
        Type::List { .. } => json!([]),
        _ => json!({}),
    }
}

fn quantity(found: &mut Value) {
    let text = match found {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return,
    };
    if let Ok(canonical) = quantity::canonical(&text) {
        *found = Value::String(canonical);
    }
}

/// Items and additional properties of a custom resource's schema: a schema, a list of them, or something else.
fn schema(found: &mut Value) {
    let Some(id) = super::by_name(super::JSON_SCHEMA_PROPS) else { return };
    match found {
        Value::Object(map) => fields(id, map),
        Value::Array(items) => {
            for item in items {
                if let Value::Object(map) = item {
                    fields(id, map);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(mut object: Value) -> Value {
        let gv = machinery::GroupVersion::parse(object["apiVersion"].as_str().unwrap()).unwrap();
        let kind = object["kind"].as_str().unwrap().to_owned();
        let gvk = GroupVersionKind { group: gv.group, version: gv.version, kind: kind.into() };
        canonicalize(&gvk, &mut object);
        object
    }

    #[test]
    fn zeros_that_go_cannot_tell_from_unset_are_dropped() {
        let pod = canonical(
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "", "labels": {}},
            "spec": {"hostNetwork": false, "automountServiceAccountToken": false, "volumes": [], "containers": [
                {"name": "", "tty": false, "stdin": true, "env": [{"name": "A", "value": ""}], "args": null,
                 "resources": {"limits": {"cpu": "1000m", "memory": 1024}},
                 "livenessProbe": {"periodSeconds": 0, "terminationGracePeriodSeconds": 0}}]}}),
        );
        assert_eq!(
            pod,
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": {
                "automountServiceAccountToken": false, "containers": [
                {"name": "", "stdin": true, "env": [{"name": "A"}],
                 "resources": {"limits": {"cpu": "1", "memory": "1024"}},
                 "livenessProbe": {"terminationGracePeriodSeconds": 0}}]}})
        );
    }

    #[test]
    fn values_of_any_kind_and_what_go_always_writes_stay() {
        let same = [
            json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "status": {"currentHealthy": 0}}),
            json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "data": {"a": [], "b": ""}, "revision": 0}),
            json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": 0}),
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": {"podSelector": {},
                "ingress": [{}]}}),
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": {"storageClassName": ""}}),
            json!({"apiVersion": "example.com/v1", "kind": "Own", "spec": {"a": "", "b": []}}),
        ];
        for object in same {
            assert_eq!(canonical(object.clone()), object);
        }
    }

    #[test]
    fn null_in_maps_is_the_zero_value() {
        assert_eq!(
            canonical(
                json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": null}, "binaryData": null})
            ),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": ""}})
        );
    }
}
