//! Validation against a schema, in upstream's words.

use super::{Additional, ListType, Schema};
use machinery::{FieldErrors, FieldPath};
use serde_json::{Map, Value};
use std::collections::HashSet;

/// Errors reported for one object; the rest is left out.
const MAX_ERRORS: usize = 64;

impl Schema {
    /// Reports what is wrong with the fields of a resource. Its metadata is the registry's to check. What is as it
    /// was in `old` is tolerated (KEP-4008).
    pub(crate) fn validate(
        &self,
        fields: &Map<String, Value>,
        old: Option<&Map<String, Value>>,
        errors: &mut FieldErrors,
    ) {
        if old == Some(fields) {
            return;
        }
        self.object(fields, old, &FieldPath::root(), errors);
        self.combine(&Value::Object(fields.clone()), &FieldPath::root(), errors);
    }

    fn value(&self, value: &Value, old: Option<&Value>, path: &FieldPath, errors: &mut FieldErrors) {
        if errors.0.len() >= MAX_ERRORS || old == Some(value) {
            return;
        }
        if value.is_null() {
            if !self.nullable && !self.kind.is_empty() {
                self.wrong_type(value, path, errors);
            }
            return;
        }
        if !self.has_type(value) {
            self.wrong_type(value, path, errors);
            return;
        }
        if !self.allowed.is_empty() && !self.allowed.contains(value) {
            let allowed: Vec<String> = self
                .allowed
                .iter()
                .map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
                .collect();
            let allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
            errors.not_supported(path.clone(), value, &allowed);
        }
        match value {
            Value::String(text) => self.string(text, path, errors),
            Value::Number(number) => self.number(number.as_f64().unwrap_or(f64::NAN), value, path, errors),
            Value::Array(items) => self.array(items, old.and_then(Value::as_array), path, errors),
            Value::Object(fields) => self.object(fields, old.and_then(Value::as_object), path, errors),
            Value::Null | Value::Bool(_) => {}
        }
        self.combine(value, path, errors);
    }

    fn has_type(&self, value: &Value) -> bool {
        if self.int_or_string {
            return value.is_string() || value.is_i64() || value.is_u64();
        }
        match self.kind.as_str() {
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|f| f.fract() == 0.0),
            "number" => value.is_number(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            _ => true,
        }
    }

    fn wrong_type(&self, value: &Value, path: &FieldPath, errors: &mut FieldErrors) {
        let found = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(n) if n.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let wanted = if self.int_or_string { "integer,string" } else { self.kind.as_str() };
        let detail = format!("{path} in body must be of type {wanted}: \"{found}\"");
        errors.type_invalid(path.clone(), found, detail);
    }

    fn string(&self, text: &str, path: &FieldPath, errors: &mut FieldErrors) {
        let length = text.chars().count() as u64;
        if let Some(max) = self.bounds.max_length.filter(|max| length > *max) {
            errors.too_long(path.clone(), usize::try_from(max).unwrap_or(usize::MAX));
        }
        if let Some(min) = self.bounds.min_length.filter(|min| length < *min) {
            errors.invalid(path.clone(), text, format!("{path} in body should be at least {min} chars long"));
        }
        if let Some((pattern, Some(compiled))) = &self.pattern
            && !compiled.is_match(text)
        {
            errors.invalid(path.clone(), text, format!("{path} in body should match '{pattern}'"));
        }
        if !format_ok(&self.format, text) {
            let detail = format!("{path} in body must be of type {}: {text:?}", self.format);
            errors.invalid(path.clone(), text, detail);
        }
    }

    fn number(&self, number: f64, value: &Value, path: &FieldPath, errors: &mut FieldErrors) {
        let bounds = &self.bounds;
        if let Some(min) = bounds.minimum {
            if bounds.exclusive_minimum && number <= min {
                errors.invalid(path.clone(), value, format!("{path} in body should be greater than {min}"));
            } else if number < min {
                let detail = format!("{path} in body should be greater than or equal to {min}");
                errors.invalid(path.clone(), value, detail);
            }
        }
        if let Some(max) = bounds.maximum {
            if bounds.exclusive_maximum && number >= max {
                errors.invalid(path.clone(), value, format!("{path} in body should be less than {max}"));
            } else if number > max {
                let detail = format!("{path} in body should be less than or equal to {max}");
                errors.invalid(path.clone(), value, detail);
            }
        }
        if let Some(step) = bounds.multiple_of.filter(|step| *step > 0.0)
            && (number / step).fract().abs() > f64::EPSILON
        {
            errors.invalid(path.clone(), value, format!("{path} in body should be a multiple of {step}"));
        }
        let fits = match self.format.as_str() {
            "int32" => number >= f64::from(i32::MIN) && number <= f64::from(i32::MAX),
            _ => true,
        };
        if !fits {
            let detail = format!("{path} in body must be of type int32: \"number\"");
            errors.invalid(path.clone(), value, detail);
        }
    }

    fn array(&self, items: &[Value], old: Option<&Vec<Value>>, path: &FieldPath, errors: &mut FieldErrors) {
        let count = items.len() as u64;
        if let Some(max) = self.bounds.max_items.filter(|max| count > *max) {
            errors.too_many(path.clone(), items.len(), usize::try_from(max).unwrap_or(usize::MAX));
        }
        if let Some(min) = self.bounds.min_items.filter(|min| count < *min) {
            errors.invalid(
                path.clone(),
                i64::try_from(count).unwrap_or(i64::MAX),
                format!("{path} in body should have at least {min} items"),
            );
        }
        if let Some(schema) = &self.items {
            for (at, item) in items.iter().enumerate() {
                let before = match &self.list_type {
                    ListType::Map(keys) => super::rules::counterpart(keys, item, old),
                    ListType::Atomic | ListType::Set => None,
                };
                schema.value(item, before, &path.index(at), errors);
            }
        }
        self.repeated(items, path, errors);
    }

    fn repeated(&self, items: &[Value], path: &FieldPath, errors: &mut FieldErrors) {
        let mut seen = HashSet::new();
        if self.bounds.unique_items && !items.iter().all(|item| seen.insert(item.to_string())) {
            let list = Value::Array(items.to_vec());
            errors.invalid(path.clone(), list, format!("{path} in body shouldn't contain duplicates"));
        }
        seen.clear();
        for (at, item) in items.iter().enumerate() {
            let key = match &self.list_type {
                ListType::Atomic => return,
                ListType::Set => item.clone(),
                ListType::Map(keys) => {
                    let fields = item.as_object();
                    let pick =
                        |key: &String| fields.and_then(|f| f.get(key)).map(|v| (key.clone(), v.clone()));
                    Value::Object(keys.iter().filter_map(pick).collect())
                }
            };
            if !seen.insert(key.to_string()) {
                errors.duplicate(path.index(at), key);
            }
        }
    }

    fn object(
        &self,
        fields: &Map<String, Value>,
        old: Option<&Map<String, Value>>,
        path: &FieldPath,
        errors: &mut FieldErrors,
    ) {
        for name in &self.required {
            if !fields.contains_key(name) && !is_resource_field(name, path) {
                errors.required(path.child(name), "");
            }
        }
        let count = fields.len() as u64;
        if let Some(max) = self.bounds.max_properties.filter(|max| count > *max) {
            errors.too_many(path.clone(), fields.len(), usize::try_from(max).unwrap_or(usize::MAX));
        }
        if let Some(min) = self.bounds.min_properties.filter(|min| count < *min) {
            let detail = format!("{path} in body should have at least {min} properties");
            errors.invalid(path.clone(), i64::try_from(count).unwrap_or(i64::MAX), detail);
        }
        for (name, value) in fields {
            if is_resource_field(name, path) {
                continue;
            }
            let before = old.and_then(|old| old.get(name));
            if let Some(schema) = self.properties.get(name) {
                schema.value(value, before, &path.child(name), errors);
            } else if let Additional::Of(schema) = &self.additional {
                schema.value(value, before, &path.key(name), errors);
            }
        }
        if self.embedded {
            embedded(fields, path, errors);
        }
    }

    fn combine(&self, value: &Value, path: &FieldPath, errors: &mut FieldErrors) {
        let holds = |schema: &Schema| {
            let mut found = FieldErrors::new();
            schema.value(value, None, path, &mut found);
            found.is_empty()
        };
        for schema in &self.all_of {
            schema.value(value, None, path, errors);
        }
        let fail = |errors: &mut FieldErrors, rule: &str| {
            errors.invalid(path.clone(), value, format!("\"{path}\" {rule}"));
        };
        if !self.any_of.is_empty() && !self.any_of.iter().any(holds) {
            fail(errors, "must validate at least one schema (anyOf)");
        }
        if !self.one_of.is_empty() {
            let found = self.one_of.iter().filter(|schema| holds(schema)).count();
            if found != 1 {
                fail(
                    errors,
                    &format!(
                        "must validate one and only one schema (oneOf). Found {} valid alternatives",
                        if found == 0 { "none".to_owned() } else { found.to_string() }
                    ),
                );
            }
        }
        if self.not.as_ref().is_some_and(|schema| holds(schema)) {
            fail(errors, "must not validate the schema (not)");
        }
    }
}

/// Fields of the resource itself that its schema does not judge.
fn is_resource_field(name: &str, path: &FieldPath) -> bool {
    path.as_str().is_empty() && matches!(name, "apiVersion" | "kind" | "metadata")
}

fn embedded(fields: &Map<String, Value>, path: &FieldPath, errors: &mut FieldErrors) {
    for name in ["apiVersion", "kind"] {
        if fields.get(name).and_then(Value::as_str).is_none_or(str::is_empty) {
            errors.required(path.child(name), "must not be empty");
        }
    }
}

/// Whether text has a known format; unknown formats constrain nothing.
fn format_ok(format: &str, text: &str) -> bool {
    match format {
        "date-time" | "datetime" => text.parse::<k8s_openapi::jiff::Timestamp>().is_ok(),
        "date" => text.parse::<k8s_openapi::jiff::civil::Date>().is_ok(),
        "ipv4" => text.parse::<std::net::Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<std::net::Ipv6Addr>().is_ok(),
        "cidr" => api::common::net::parse_cidr(text).is_some(),
        "byte" => {
            use base64::Engine;
            base64::engine::general_purpose::STANDARD.decode(text).is_ok()
        }
        "uuid" => uuid::Uuid::try_parse(text).is_ok(),
        "email" => text.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty()),
        "uri" => text.parse::<http::Uri>().is_ok_and(|uri| uri.scheme().is_some() || text.starts_with('/')),
        _ => true,
    }
}
