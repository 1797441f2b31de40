//! Rules when a definition is written: they must compile, be affordable, and compare only with what can be found
//! in the old object.
//!
//! Source: "Validation rules", resource constraints; upstream's messages.

use super::compile::env;
use super::types::{MAX_REQUEST, flag, text, typed};
use cel::{Program, Type};
use machinery::field::BadValue;
use machinery::{FieldErrors, FieldPath};
use serde_json::Value;

/// Cost that one rule may have, by the declared sizes.
const RULE_LIMIT: u64 = 10_000_000;
/// Cost that all rules of a schema may have together.
const TOTAL_LIMIT: u64 = 100_000_000;
const MAX_DEPTH: usize = 64;

/// A rule as upstream prints it.
struct Printed<'v>(&'v Value);

impl BadValue for Printed<'_> {
    fn print(&self) -> String {
        self.0.to_string()
    }
}

/// Where a schema stands.
#[derive(Clone)]
struct Place {
    path: FieldPath,
    root: bool,
    depth: usize,
    /// How many values of it an object may have; `None` when nothing says.
    often: Option<u64>,
    /// The part above whose old value cannot be told.
    lost: Option<FieldPath>,
}

#[derive(Default)]
struct Total {
    cost: u64,
    parts: Vec<(FieldPath, u64)>,
}

/// Reports what is wrong with the rules of an `openAPIV3Schema`.
pub(crate) fn validate(schema: &Value, path: &FieldPath, errors: &mut FieldErrors) {
    let place = Place { path: path.clone(), root: true, depth: 0, often: Some(1), lost: None };
    let mut total = Total::default();
    walk(schema, &place, &mut total, errors);
    if total.cost > TOTAL_LIMIT {
        total.parts.sort_by_key(|(_, cost)| std::cmp::Reverse(*cost));
        for (path, cost) in total.parts.into_iter().take(4) {
            if cost > TOTAL_LIMIT / 100 {
                let detail = "contributed to estimated rule & messageExpression cost total exceeding cost limit \
                              for entire OpenAPIv3 schema";
                errors.forbidden(path, detail);
            }
        }
        let what = "x-kubernetes-validations estimated rule & messageExpression cost total for entire OpenAPIv3 schema";
        errors.forbidden(path.clone(), exceeds(what, total.cost, TOTAL_LIMIT));
    }
}

fn walk(schema: &Value, place: &Place, total: &mut Total, errors: &mut FieldErrors) {
    if place.depth > MAX_DEPTH {
        return;
    }
    let resource = place.root || flag(schema, "x-kubernetes-embedded-resource");
    let rules = schema.get("x-kubernetes-validations").and_then(Value::as_array);
    if let Some(rules) = rules.filter(|rules| !rules.is_empty()) {
        let at = place.path.child("x-kubernetes-validations");
        match typed(schema, resource, place.depth) {
            Some(found) => {
                let most = MAX_REQUEST / (found.least + 1);
                for (number, rule) in rules.iter().enumerate() {
                    judge(rule, &found.ty, most, place, &at.index(number), total, errors);
                }
            }
            None => {
                for (number, rule) in rules.iter().enumerate() {
                    let detail = "type of this part of the schema is not known to rules";
                    errors.invalid(at.index(number).child("rule"), Printed(rule), detail);
                }
            }
        }
    }
    let below = |path, often, lost| Place { path, root: false, depth: place.depth + 1, often, lost };
    let times = |key: &str| {
        let most = schema.get(key).and_then(Value::as_u64)?;
        place.often?.checked_mul(most)
    };
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let path = place.path.child("properties").key(name);
        walk(property, &below(path, place.often, place.lost.clone()), total, errors);
    }
    if let Some(items) = schema.get("items") {
        let lost = match text(schema, "x-kubernetes-list-type") {
            "map" => place.lost.clone(),
            _ => place.lost.clone().or_else(|| Some(place.path.clone())),
        };
        walk(items, &below(place.path.child("items"), times("maxItems"), lost), total, errors);
    }
    if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
        let path = place.path.child("additionalProperties");
        walk(values, &below(path, times("maxProperties"), place.lost.clone()), total, errors);
    }
    for key in ["allOf", "anyOf", "oneOf", "not"] {
        if schema.get(key).is_some_and(|inner| inner.to_string().contains("\"x-kubernetes-validations\":[{"))
        {
            errors.forbidden(place.path.child(key), "must be empty to be structural");
        }
    }
}

fn judge(
    rule: &Value,
    ty: &Type,
    most: u64,
    place: &Place,
    at: &FieldPath,
    total: &mut Total,
    errors: &mut FieldErrors,
) {
    let expression = text(rule, "rule").trim();
    if expression.is_empty() {
        errors.required(at.child("rule"), "rule is not specified");
        return;
    }
    let env = env(ty, flag(rule, "optionalOldSelf"));
    let often = place.often.unwrap_or(most);
    let mut pay = |program: &Program, field: &str, what: &str, errors: &mut FieldErrors| {
        let cost = program.estimate().max.saturating_mul(often);
        if cost > RULE_LIMIT {
            errors.forbidden(at.child(field), exceeds(what, cost, RULE_LIMIT));
        }
        total.cost = total.cost.saturating_add(cost);
        total.parts.push((at.child(field), cost));
    };
    match env.compile(expression) {
        Err(error) => {
            errors.invalid(at.child("rule"), Printed(rule), format!("compilation failed: {error}"));
        }
        Ok(program) if !is(&program, &Type::Bool) => {
            errors.invalid(at.child("rule"), Printed(rule), "cel expression must evaluate to a bool");
        }
        Ok(program) => {
            pay(&program, "rule", "estimated rule cost", errors);
            let compares = program.uses("oldSelf");
            if let Some(lost) = place.lost.as_ref().filter(|_| compares) {
                let detail = format!(
                    "oldSelf cannot be used on the uncorrelatable portion of the schema within {lost}"
                );
                errors.invalid(at.child("rule"), expression, detail);
            }
            if !compares && rule.get("optionalOldSelf").is_some() {
                let detail = "may not be set if oldSelf is not used in rule";
                errors.invalid(at.child("optionalOldSelf"), flag(rule, "optionalOldSelf"), detail);
            }
        }
    }
    let written = text(rule, "messageExpression");
    if !written.is_empty() {
        match env.compile(written) {
            Err(error) => {
                let detail = format!("messageExpression compilation failed: {error}");
                errors.invalid(at.child("messageExpression"), Printed(rule), detail);
            }
            Ok(program) if !is(&program, &Type::STRING) => {
                let detail = "messageExpression must evaluate to a string";
                errors.invalid(at.child("messageExpression"), Printed(rule), detail);
            }
            Ok(program) => pay(&program, "messageExpression", "estimated messageExpression cost", errors),
        }
    }
    words(rule, at, errors);
}

fn is(program: &Program, wanted: &Type) -> bool {
    let found = program.result_type();
    std::mem::discriminant(found) == std::mem::discriminant(wanted)
}

fn words(rule: &Value, at: &FieldPath, errors: &mut FieldErrors) {
    const REASONS: &[&str] =
        &["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
    let message = text(rule, "message");
    if !message.is_empty() && message.trim().is_empty() {
        errors.invalid(at.child("message"), message, "message must be non-empty if specified");
    } else if message.trim().contains('\n') {
        errors.invalid(at.child("message"), message, "message must not contain line breaks");
    } else if message.is_empty() && text(rule, "rule").trim().contains('\n') {
        errors.required(at.child("message"), "message must be specified if rule contains line breaks");
    }
    let reason = text(rule, "reason");
    if !reason.is_empty() && !REASONS.contains(&reason) {
        errors.not_supported(at.child("reason"), reason, REASONS);
    }
}

fn exceeds(what: &str, cost: u64, limit: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "one digit of it is shown")]
    let factor = cost as f64 / limit as f64;
    let shown = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {shown} (try simplifying the rule, or adding maxItems, maxProperties, and \
         maxLength where arrays, maps, and strings are declared)"
    )
}
