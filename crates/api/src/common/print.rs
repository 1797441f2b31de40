//! Cells of tables that several kinds print alike.

use crate::Object;
use crate::resource::{Column, age};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

/// A text, `<none>` when it is empty.
pub fn or_none(text: &str) -> Value {
    if text.is_empty() { json!("<none>") } else { json!(text) }
}

/// A joined list, `<none>` when it is empty.
pub fn list_or_none<T: AsRef<str>>(list: &[T]) -> Value {
    let list: Vec<&str> = list.iter().map(AsRef::as_ref).collect();
    or_none(&list.join(","))
}

/// Time since `then`.
pub fn since(then: Option<&Time>, now: Timestamp) -> String {
    age(then.map(|time| time.0), now)
}

/// When the object was created, in RFC 3339.
pub fn created_at(object: &dyn Object) -> Value {
    json!(object.meta().creation_timestamp.as_ref().map(|time| format!("{:.0}", time.0)))
}

/// The columns of kinds that print nothing but name and creation time.
pub fn name_and_creation() -> Vec<Column> {
    vec![Column::name(), Column::new("Created At", "date", "When the object was created.")]
}

/// The wide columns of workloads: what their pods run, and which pods are theirs.
pub fn workload_columns(with_selector: bool) -> Vec<Column> {
    let mut columns = vec![
        Column::new("Containers", "string", "Names of the pods' containers.").wide(),
        Column::new("Images", "string", "Images of the pods' containers.").wide(),
    ];
    if with_selector {
        columns.push(Column::new("Selector", "string", "Which pods belong to it.").wide());
    }
    columns
}

/// At most three of `list`, and how many more there are.
pub fn first_three(list: &[String]) -> String {
    match list.len() {
        0 => "<none>".to_owned(),
        more @ 4.. => format!("{} + {} more...", list[..3].join(","), more - 3),
        _ => list.join(","),
    }
}
