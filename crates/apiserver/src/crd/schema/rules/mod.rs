//! `x-kubernetes-validations`: rules of a schema in CEL, compiled when the first object is judged.
//!
//! Source: "Validation rules" of the CustomResourceDefinition documentation; KEP-2876, KEP-4008 (ratcheting).
//! Deliberately absent: warnings about errors that ratcheting tolerates.

mod compile;
mod define;
mod evaluate;
mod types;

pub(crate) use define::validate;
pub(in crate::crd::schema) use evaluate::counterpart;

use cel::{Program, Type};
use machinery::FieldErrors;
use serde_json::{Map, Value};
use std::sync::{Arc, OnceLock};

/// One compiled rule.
#[derive(Debug)]
struct Rule {
    text: String,
    program: Result<Program, String>,
    message: String,
    message_expression: Option<Program>,
    reason: String,
    /// Where the error is reported, below the node.
    field_path: String,
    /// Whether it compares with the old value, and so is skipped without one.
    transition: bool,
    optional_old: bool,
}

/// A part of a schema with rules of its own or below.
#[derive(Debug)]
struct Node {
    /// OpenAPI type, which errors show instead of the value.
    kind: String,
    ty: Type,
    rules: Vec<Rule>,
    properties: Vec<(String, Node)>,
    items: Option<Box<Node>>,
    /// Fields that tell the items of a list apart; empty when nothing does.
    keys: Vec<String>,
    additional: Option<Box<Node>>,
}

/// The rules of one version of a definition.
#[derive(Debug)]
pub(in crate::crd) struct Rules {
    schema: Arc<Value>,
    tree: OnceLock<Option<Node>>,
}

/// What rules may see of a resource besides its fields.
pub(in crate::crd) struct Head<'a> {
    pub(in crate::crd) api_version: &'a str,
    pub(in crate::crd) kind: &'a str,
    pub(in crate::crd) name: Option<&'a str>,
    pub(in crate::crd) generate_name: Option<&'a str>,
}

impl Rules {
    /// The rules of a schema, if it has any.
    pub(in crate::crd) fn of(schema: &Value) -> Option<Self> {
        has_rules(schema, 0).then(|| Self { schema: Arc::new(schema.clone()), tree: OnceLock::new() })
    }

    /// Judges a resource, `old` being what it replaces.
    pub(in crate::crd) fn check(
        &self,
        head: &Head<'_>,
        fields: &Map<String, Value>,
        old: Option<&Map<String, Value>>,
        errors: &mut FieldErrors,
    ) {
        let tree = self.tree.get_or_init(|| compile::tree(&self.schema));
        if let Some(tree) = tree {
            evaluate::resource(tree, head, fields, old, errors);
        }
    }
}

fn has_rules(schema: &Value, depth: usize) -> bool {
    match schema {
        Value::Object(fields) if depth < 256 => {
            fields.get("x-kubernetes-validations").is_some_and(Value::is_array)
                || fields.values().any(|value| has_rules(value, depth + 1))
        }
        Value::Array(items) => items.iter().any(|item| has_rules(item, depth + 1)),
        _ => false,
    }
}
