//! `meta/v1.LabelSelector`: what is malformed, and what it means as [`machinery::labels::Selector`].

use super::items;
use super::names;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use machinery::labels::Selector;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

/// Reports what is malformed.
pub fn validate(selector: &LabelSelector, path: &FieldPath, errors: &mut FieldErrors) {
    if let Some(labels) = &selector.match_labels {
        names::validate_labels(labels, &path.child("matchLabels"), errors);
    }
    for (at, requirement) in items(&selector.match_expressions).iter().enumerate() {
        validate_requirement(requirement, &path.child("matchExpressions").index(at), errors);
    }
}

fn validate_requirement(requirement: &LabelSelectorRequirement, path: &FieldPath, errors: &mut FieldErrors) {
    let values = items(&requirement.values);
    match requirement.operator.as_str() {
        "In" | "NotIn" if values.is_empty() => {
            errors.required(path.child("values"), "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            errors.forbidden(
                path.child("values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            );
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => errors.invalid(path.child("operator"), other, "not a valid selector operator"),
    }
    let key = &requirement.key;
    names::report(path.child("key"), key, names::qualified_name(key), errors);
    for (at, value) in values.iter().enumerate() {
        names::report(path.child("values").index(at), value, names::label_value(value), errors);
    }
}

/// Whether it selects everything.
pub fn is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.as_ref().is_none_or(|labels| labels.is_empty())
        && items(&selector.match_expressions).is_empty()
}

/// What it means; an absent selector matches nothing. The error is in upstream's words.
pub fn convert(selector: Option<&LabelSelector>) -> Result<Selector, String> {
    let Some(selector) = selector else {
        return Ok(Selector::nothing());
    };
    let labels = selector.match_labels.iter().flatten();
    let expressions = items(&selector.match_expressions)
        .iter()
        .map(|r| (r.key.as_str(), r.operator.as_str(), items(&r.values)));
    Selector::from_parts(labels, expressions)
}

/// Its string form as tables print it: `<none>` for an absent one.
pub fn display(selector: Option<&LabelSelector>) -> String {
    match selector {
        None => "<none>".to_owned(),
        Some(selector) if is_empty(selector) => "<none>".to_owned(),
        Some(selector) => match convert(Some(selector)) {
            Ok(selector) => selector.to_string(),
            Err(_) => "<error>".to_owned(),
        },
    }
}

/// A selector as messages print it.
pub fn printed(selector: &LabelSelector) -> Value {
    let mut object = json!({});
    if selector.match_labels.is_some() {
        object["matchLabels"] = super::json::map(&selector.match_labels);
    }
    if let Some(expressions) = &selector.match_expressions {
        let expressions = expressions.iter().map(|r| {
            let mut object = json!({"key": r.key, "operator": r.operator});
            if let Some(values) = &r.values {
                object["values"] = super::json::list(values);
            }
            object
        });
        object["matchExpressions"] = Value::Array(expressions.collect());
    }
    object
}

/// Plain labels as tables print them: `a=b,c=d`, `<none>` without any.
pub fn display_labels(labels: &Option<std::collections::BTreeMap<String, String>>) -> String {
    let pairs: Vec<String> = labels.iter().flatten().map(|(k, v)| format!("{k}={v}")).collect();
    if pairs.is_empty() { "<none>".to_owned() } else { pairs.join(",") }
}
