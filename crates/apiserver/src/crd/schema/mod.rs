//! Structural schemas, compiled once per version of a definition.
//!
//! Source: CustomResourceDefinition documentation, "Specifying a structural schema"; OpenAPI v3 keywords.
//! Rules in CEL (`x-kubernetes-validations`) are in [`rules`].

mod prune;
pub(super) mod rules;
mod validate;

use regex::Regex;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Levels of nesting that are compiled; deeper ones admit everything.
const MAX_DEPTH: usize = 64;

/// What a schema says about fields that are not its properties.
#[derive(Clone, Debug, Default)]
enum Additional {
    /// Nothing: they are unknown, and pruned.
    #[default]
    Unknown,
    /// They may be anything (`additionalProperties: true`).
    Any,
    /// They follow a schema: the object is a map.
    Of(Box<Schema>),
}

/// How lists are merged and what may not repeat in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum ListType {
    #[default]
    Atomic,
    Set,
    Map(Vec<String>),
}

/// Bounds of numbers, lengths and counts.
#[derive(Clone, Debug, Default)]
struct Bounds {
    minimum: Option<f64>,
    maximum: Option<f64>,
    exclusive_minimum: bool,
    exclusive_maximum: bool,
    multiple_of: Option<f64>,
    min_length: Option<u64>,
    max_length: Option<u64>,
    min_items: Option<u64>,
    max_items: Option<u64>,
    min_properties: Option<u64>,
    max_properties: Option<u64>,
    unique_items: bool,
}

/// One node of a schema.
#[derive(Clone, Debug, Default)]
pub(crate) struct Schema {
    kind: String,
    format: String,
    nullable: bool,
    properties: BTreeMap<String, Schema>,
    additional: Additional,
    items: Option<Box<Schema>>,
    required: Vec<String>,
    default: Option<Value>,
    allowed: Vec<Value>,
    bounds: Bounds,
    pattern: Option<(String, Option<Regex>)>,
    all_of: Vec<Schema>,
    any_of: Vec<Schema>,
    one_of: Vec<Schema>,
    not: Option<Box<Schema>>,
    preserve: bool,
    int_or_string: bool,
    embedded: bool,
    list_type: ListType,
}

impl Schema {
    /// Compiles `openAPIV3Schema`. What cannot be read constrains nothing: the definition itself was validated
    /// when it was stored.
    pub(crate) fn compile(schema: &Value) -> Self {
        compile(schema, 0)
    }

    /// A schema that admits everything.
    pub(crate) fn anything() -> Self {
        Self { kind: "object".to_owned(), preserve: true, ..Self::default() }
    }
}

fn compile(value: &Value, depth: usize) -> Schema {
    let Some(fields) = value.as_object() else { return Schema::anything() };
    if depth > MAX_DEPTH {
        return Schema::anything();
    }
    let text = |key: &str| fields.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let flag = |key: &str| fields.get(key).and_then(Value::as_bool).unwrap_or(false);
    let one = |key: &str| fields.get(key).map(|value| Box::new(compile(value, depth + 1)));
    let many = |key: &str| -> Vec<Schema> {
        let list = fields.get(key).and_then(Value::as_array).into_iter().flatten();
        list.map(|value| compile(value, depth + 1)).collect()
    };
    let additional = match fields.get("additionalProperties") {
        None | Some(Value::Bool(false)) => Additional::Unknown,
        Some(Value::Bool(true)) => Additional::Any,
        Some(schema) => Additional::Of(Box::new(compile(schema, depth + 1))),
    };
    let properties = fields.get("properties").and_then(Value::as_object).into_iter().flatten();
    Schema {
        kind: text("type"),
        format: text("format"),
        nullable: flag("nullable"),
        properties: properties.map(|(name, value)| (name.clone(), compile(value, depth + 1))).collect(),
        additional,
        items: one("items"),
        required: strings(fields, "required"),
        default: fields.get("default").cloned(),
        allowed: fields.get("enum").and_then(Value::as_array).cloned().unwrap_or_default(),
        bounds: bounds(fields),
        pattern: fields.get("pattern").and_then(Value::as_str).map(pattern),
        all_of: many("allOf"),
        any_of: many("anyOf"),
        one_of: many("oneOf"),
        not: one("not"),
        preserve: flag("x-kubernetes-preserve-unknown-fields"),
        int_or_string: flag("x-kubernetes-int-or-string"),
        embedded: flag("x-kubernetes-embedded-resource"),
        list_type: match text("x-kubernetes-list-type").as_str() {
            "set" => ListType::Set,
            "map" => ListType::Map(strings(fields, "x-kubernetes-list-map-keys")),
            _ => ListType::Atomic,
        },
    }
}

fn strings(fields: &Map<String, Value>, key: &str) -> Vec<String> {
    let list = fields.get(key).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn pattern(text: &str) -> (String, Option<Regex>) {
    let compiled = cel::re2::compile(text).ok();
    (text.to_owned(), compiled)
}

fn bounds(fields: &Map<String, Value>) -> Bounds {
    let number = |key: &str| fields.get(key).and_then(Value::as_f64);
    let count = |key: &str| fields.get(key).and_then(Value::as_u64);
    let flag = |key: &str| fields.get(key).and_then(Value::as_bool).unwrap_or(false);
    Bounds {
        minimum: number("minimum"),
        maximum: number("maximum"),
        exclusive_minimum: flag("exclusiveMinimum"),
        exclusive_maximum: flag("exclusiveMaximum"),
        multiple_of: number("multipleOf"),
        min_length: count("minLength"),
        max_length: count("maxLength"),
        min_items: count("minItems"),
        max_items: count("maxItems"),
        min_properties: count("minProperties"),
        max_properties: count("maxProperties"),
        unique_items: flag("uniqueItems"),
    }
}

#[cfg(test)]
mod tests;
