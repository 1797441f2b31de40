//! Pruning of unknown fields, and defaulting.

use super::{Additional, Schema};
use serde_json::{Map, Value};

/// Fields that every resource has.
const RESOURCE_FIELDS: [&str; 3] = ["apiVersion", "kind", "metadata"];

impl Schema {
    /// Removes what the schema of a resource does not know. Returns the paths removed, as
    /// `unknown field "spec.foo"` names them.
    pub(crate) fn prune(&self, resource: &mut Map<String, Value>) -> Vec<String> {
        let mut removed = Vec::new();
        self.prune_object(resource, "", true, &mut removed);
        removed
    }

    fn prune_object(
        &self,
        object: &mut Map<String, Value>,
        path: &str,
        resource: bool,
        removed: &mut Vec<String>,
    ) {
        object.retain(|name, value| {
            if resource && RESOURCE_FIELDS.contains(&name.as_str()) {
                return true;
            }
            let at = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            if let Some(schema) = self.properties.get(name) {
                schema.prune_value(value, &at, removed);
                return true;
            }
            match &self.additional {
                Additional::Of(schema) => {
                    schema.prune_value(value, &at, removed);
                    true
                }
                Additional::Any => true,
                Additional::Unknown if self.preserve => true,
                Additional::Unknown => {
                    removed.push(at);
                    false
                }
            }
        });
    }

    fn prune_value(&self, value: &mut Value, path: &str, removed: &mut Vec<String>) {
        match value {
            Value::Object(object) => self.prune_object(object, path, self.embedded, removed),
            Value::Array(items) => {
                if let Some(schema) = &self.items {
                    for (at, item) in items.iter_mut().enumerate() {
                        schema.prune_value(item, &format!("{path}[{at}]"), removed);
                    }
                }
            }
            _ => {}
        }
    }

    /// Fills unset fields, after taking away nulls that stand where a default would.
    pub(crate) fn set_defaults(&self, object: &mut Map<String, Value>) {
        for (name, schema) in &self.properties {
            let Some(default) = &schema.default else { continue };
            let unset = match object.get(name) {
                None => true,
                Some(Value::Null) => !schema.nullable,
                Some(_) => false,
            };
            if unset {
                object.insert(name.clone(), default.clone());
            }
        }
        for (name, value) in object.iter_mut() {
            if let Some(schema) = self.properties.get(name) {
                schema.default_value(value);
            } else if let Additional::Of(schema) = &self.additional {
                schema.default_value(value);
            }
        }
    }

    fn default_value(&self, value: &mut Value) {
        match value {
            Value::Object(object) => self.set_defaults(object),
            Value::Array(items) => {
                if let Some(schema) = &self.items {
                    items.iter_mut().for_each(|item| schema.default_value(item));
                }
            }
            _ => {}
        }
    }
}
