//! Helpers of this crate's tests.

use crate::rules::Rules;
use machinery::FieldErrors;
use serde_json::{Value, json};

/// An object of kind `K` from its fields; `apiVersion`, `kind` and a name are added.
pub(crate) fn object<K: Rules>(fields: Value) -> K {
    let mut fields = fields;
    let version =
        if K::GROUP.is_empty() { K::VERSION.to_owned() } else { format!("{}/{}", K::GROUP, K::VERSION) };
    fields["apiVersion"] = json!(version);
    fields["kind"] = json!(K::KIND);
    if fields["metadata"].is_null() {
        fields["metadata"] = json!({});
    }
    if fields["metadata"]["name"].is_null() {
        fields["metadata"]["name"] = json!("x");
    }
    if K::NAMESPACED && fields["metadata"]["namespace"].is_null() {
        fields["metadata"]["namespace"] = json!("default");
    }
    K::from_json(fields.to_string().as_bytes()).expect("test object decodes")
}

/// The object as it would be created.
pub(crate) fn created<K: Rules>(fields: Value) -> K {
    let mut object: K = object(fields);
    object.meta_mut().uid = Some("uid-1".to_owned());
    object.set_defaults();
    object.prepare_create();
    object
}

/// What is wrong with a new object.
pub(crate) fn errors<K: Rules>(fields: Value) -> Vec<String> {
    let mut errors = FieldErrors::new();
    created::<K>(fields).validate_create(&mut errors);
    errors.0.iter().map(ToString::to_string).collect()
}

/// Checks that creating the object is refused with exactly these messages.
#[track_caller]
pub(crate) fn check<K: Rules>(fields: Value, expected: &[&str]) {
    assert_eq!(errors::<K>(fields), expected);
}

/// Checks that changing one object to the other is refused with exactly these messages.
#[track_caller]
pub(crate) fn check_update<K: Rules>(old: Value, new: Value, expected: &[&str]) {
    assert_eq!(update_errors::<K>(old, new), expected);
}

/// What is wrong with changing one object to the other.
pub(crate) fn update_errors<K: Rules>(old: Value, new: Value) -> Vec<String> {
    let old: K = created(old);
    let mut new: K = object(new);
    new.set_defaults();
    crate::meta::prepare_update(new.meta_mut(), old.meta());
    new.prepare_update(&old);
    let mut errors = FieldErrors::new();
    new.validate_update(&old, &mut errors);
    errors.0.iter().map(ToString::to_string).collect()
}

/// The cells of an object's row a minute after it was created, shown by column name.
pub(crate) fn row<K: Rules>(fields: Value) -> Vec<(String, String)> {
    let object: K = object(fields);
    let now = "2026-01-01T00:01:00Z".parse().expect("valid time");
    let cells = object.cells(now);
    let show = |cell: &Value| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned);
    K::columns().iter().zip(&cells).map(|(column, cell)| (column.name.to_string(), show(cell))).collect()
}

/// Checks some cells of an object's row.
#[track_caller]
pub(crate) fn check_row<K: Rules>(fields: Value, expected: &[(&str, &str)]) {
    let row = row::<K>(fields);
    for (column, text) in expected {
        let cell = row.iter().find(|(name, _)| name == column);
        assert_eq!(cell.map(|(_, cell)| cell.as_str()), Some(*text), "column {column} of {row:?}");
    }
}
