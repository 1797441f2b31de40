//! Schemas of custom resources, from the CustomResourceDefinition's own.

use super::paths::schema_name;
use super::schemas::{list_description, list_properties, meta, reference};
use api::ResourceDef;
use api::schema::{Descriptions, lookup};
use machinery::GroupVersionKind;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Where the schemas of custom resources come from: who keeps the CustomResourceDefinitions.
pub trait Customs: Send + Sync {
    /// `openAPIV3Schema` of a served version; `None` for built-in kinds and for those without one.
    fn schema(&self, gvk: &GroupVersionKind) -> Option<Arc<Value>>;
}

/// No custom resources.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCustoms;

impl Customs for NoCustoms {
    fn schema(&self, _gvk: &GroupVersionKind) -> Option<Arc<Value>> {
        None
    }
}

/// The schemas of a custom resource and of its list, by full name; none for built-in ones.
pub(super) fn custom_schemas(
    def: &ResourceDef,
    customs: &dyn Customs,
    descriptions: &Descriptions,
) -> Map<String, Value> {
    let mut out = Map::new();
    if lookup(&def.gvk).is_some() {
        return out;
    }
    let mut schema = customs.schema(&def.gvk).map_or_else(
        || json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        |schema| (*schema).clone(),
    );
    let extension = |kind: &str| json!([{"group": def.gvk.group, "kind": kind, "version": def.gvk.version}]);
    let name = schema_name(&def.gvk);
    if let Some(map) = schema.as_object_mut() {
        let properties = map.entry("properties").or_insert_with(|| json!({}));
        if let (Some(properties), Value::Object(common)) =
            (properties.as_object_mut(), list_properties(&name, descriptions))
        {
            for (field, mut schema) in common.into_iter().filter(|(field, _)| field != "items") {
                if field == "metadata" {
                    let words =
                        descriptions.of("io.k8s.api.core.v1.ConfigMap").and_then(|d| d.field("metadata"));
                    schema = json!({"allOf": [reference(&meta("ObjectMeta"))], "description": words});
                }
                properties.insert(field, schema);
            }
        }
        map.insert("x-kubernetes-group-version-kind".to_owned(), extension(&def.gvk.kind));
        let selectable: Vec<Value> =
            def.selectable.iter().map(|field| json!({"fieldPath": field.path})).collect();
        if !selectable.is_empty() {
            map.insert("x-kubernetes-selectable-fields".to_owned(), json!(selectable));
        }
    }
    let list = json!({
        "description": list_description(&def.list_kind, &def.gvk.kind),
        "type": "object",
        "required": ["items"],
        "properties": list_properties(&name, descriptions),
        "x-kubernetes-group-version-kind": extension(&def.list_kind),
    });
    out.insert(schema_name(&GroupVersionKind { kind: def.list_kind.clone(), ..def.gvk.clone() }), list);
    out.insert(name, schema);
    out
}
