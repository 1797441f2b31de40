//! The rules of a custom resource: what its definition says, as a [`Strategy`].

use super::dynamic::{DynamicObject, dynamic, dynamic_mut};
use super::jsonpath::{JsonPath, plain};
use super::schema::Schema;
use super::schema::rules::{Head, Rules};
use api::k8s_openapi::jiff::Timestamp;
use api::resource::{ScalePaths, age, name_cell};
use api::{DecodeError, Object, Strategy};
use machinery::field::{FieldError, FieldErrorType};
use machinery::{FieldErrors, FieldPath, GroupVersionKind};
use serde_json::{Map, Value};

/// One printed column besides the name.
pub(super) struct Cell {
    /// OpenAPI type of the column.
    pub(super) kind: String,
    /// Where its value stands; `None` prints nothing.
    pub(super) path: Option<JsonPath>,
}

/// The rules of one version.
pub(super) struct CustomStrategy {
    pub(super) gvk: GroupVersionKind,
    pub(super) schema: Schema,
    /// Rules in CEL, where the schema has some.
    pub(super) rules: Option<Rules>,
    /// Whether `status` is a subresource.
    pub(super) status: bool,
    pub(super) cells: Vec<Cell>,
    /// Set when `scale` is a subresource.
    pub(super) scale: Option<ScalePaths>,
}

impl CustomStrategy {
    fn parse(json: &[u8]) -> Result<Map<String, Value>, DecodeError> {
        match serde_json::from_slice(json)? {
            Value::Object(fields) => Ok(fields),
            _ => Err(DecodeError("an object is expected".to_owned())),
        }
    }

    fn judge(&self, object: &dyn Object, old: Option<&dyn Object>) -> FieldErrors {
        let mut errors = FieldErrors::new();
        let Some(object) = dynamic(object) else { return errors };
        let old = old.and_then(dynamic).map(|old| &old.fields);
        self.schema.validate(&object.fields, old, &mut errors);
        let Some(rules) = &self.rules else { return errors };
        if errors.0.iter().any(blocks_rules) {
            let why = "some validation rules were not checked because the object was invalid; correct the existing \
                       errors to complete validation";
            errors.invalid(FieldPath::root(), "null", why);
            return errors;
        }
        let meta = object.meta();
        let head = Head {
            api_version: &self.gvk.api_version(),
            kind: &self.gvk.kind,
            name: meta.name.as_deref(),
            generate_name: meta.generate_name.as_deref(),
        };
        rules.check(&head, &object.fields, old, &mut errors);
        errors
    }

    /// Everything that counts for the generation.
    fn specified(&self, object: &DynamicObject) -> Map<String, Value> {
        let mut fields = object.fields.clone();
        if self.status {
            fields.shift_remove("status");
        }
        fields
    }
}

/// Whether rules cannot be trusted with an object that has this error.
fn blocks_rules(error: &FieldError) -> bool {
    use FieldErrorType::{NotSupported, Required, TooLong, TooMany, TypeInvalid};
    matches!(error.kind, NotSupported | Required | TooLong | TooMany | TypeInvalid)
}

fn set_status(object: &mut DynamicObject, status: Option<&Value>) {
    match status {
        Some(status) => {
            object.fields.insert("status".to_owned(), status.clone());
        }
        None => {
            object.fields.shift_remove("status");
        }
    }
}

impl Strategy for CustomStrategy {
    fn decode(&self, json: &[u8]) -> Result<Box<dyn Object>, DecodeError> {
        let mut fields = Self::parse(json)?;
        self.schema.prune(&mut fields);
        Ok(Box::new(DynamicObject::new(self.gvk.clone(), fields)?))
    }

    fn set_defaults(&self, object: &mut dyn Object) {
        if let Some(object) = dynamic_mut(object) {
            self.schema.set_defaults(&mut object.fields);
        }
    }

    fn prepare_create(&self, object: &mut dyn Object) {
        let Some(object) = dynamic_mut(object) else { return };
        if self.status {
            object.fields.shift_remove("status");
        }
        object.meta_mut().generation = Some(1);
    }

    fn prepare_update(&self, object: &mut dyn Object, old: &dyn Object) {
        let (Some(object), Some(old)) = (dynamic_mut(object), dynamic(old)) else { return };
        if self.status {
            set_status(object, old.fields.get("status"));
        }
        let generation = old.meta().generation.unwrap_or(0);
        let changed = self.specified(object) != self.specified(old);
        object.meta_mut().generation = Some(if changed { generation + 1 } else { generation });
    }

    fn prepare_status_update(&self, object: &mut dyn Object, old: &dyn Object) {
        let (Some(object), Some(old)) = (dynamic_mut(object), dynamic(old)) else { return };
        let status = object.fields.get("status").cloned();
        object.fields.clone_from(&old.fields);
        set_status(object, status.as_ref());
        let managed = object.meta().managed_fields.clone();
        let version = object.meta().resource_version.clone();
        *object.meta_mut() = old.meta().clone();
        object.meta_mut().managed_fields = managed;
        object.meta_mut().resource_version = version;
    }

    fn validate_create(&self, object: &dyn Object) -> FieldErrors {
        self.judge(object, None)
    }

    fn validate_update(&self, object: &dyn Object, old: &dyn Object) -> FieldErrors {
        self.judge(object, Some(old))
    }

    fn validate_status_update(&self, object: &dyn Object, old: &dyn Object) -> FieldErrors {
        self.judge(object, Some(old))
    }

    fn warnings(&self, _: &dyn Object, _: Option<&dyn Object>) -> Vec<String> {
        Vec::new()
    }

    fn cells(&self, object: &dyn Object, now: Timestamp) -> Vec<Value> {
        let mut cells = vec![name_cell(object)];
        let Some(object) = dynamic(object) else { return cells };
        let tree = object.tree();
        cells.extend(self.cells.iter().map(|cell| show(cell, &tree, now)));
        cells
    }

    fn scale(&self) -> Option<&ScalePaths> {
        self.scale.as_ref()
    }

    fn unknown_fields(&self, value: &Value) -> Option<Vec<String>> {
        let mut fields = value.as_object()?.clone();
        let removed = self.schema.prune(&mut fields);
        Some(removed.into_iter().map(|path| format!("unknown field {path:?}")).collect())
    }
}

fn show(cell: &Cell, tree: &Value, now: Timestamp) -> Value {
    let Some(path) = &cell.path else { return Value::Null };
    let found = path.find(tree);
    let Some(first) = found.first() else { return Value::Null };
    match cell.kind.as_str() {
        "date" => match plain(first).parse::<Timestamp>() {
            Ok(then) => Value::String(age(Some(then), now)),
            Err(_) => Value::String("<invalid>".to_owned()),
        },
        "integer" => first.as_i64().map_or(Value::Null, Value::from),
        "number" => first.as_f64().map_or(Value::Null, Value::from),
        "boolean" => first.as_bool().map_or(Value::Null, Value::from),
        _ => match found.as_slice() {
            [one] => Value::String(plain(one)),
            many => Value::String(many.iter().map(|value| plain(value)).collect::<Vec<_>>().join(",")),
        },
    }
}
