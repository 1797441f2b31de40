//! Rules of a schema, compiled.

use super::types::{flag, list_keys, text, typed};
use super::{Node, Rule};
use cel::{Env, Type};
use serde_json::Value;

/// Levels of nesting that are looked at.
const MAX_DEPTH: usize = 64;

/// Everything of a schema that has rules.
pub(super) fn tree(schema: &Value) -> Option<Node> {
    node(schema, true, 0)
}

fn node(schema: &Value, root: bool, depth: usize) -> Option<Node> {
    if depth > MAX_DEPTH {
        return None;
    }
    let embedded = |schema: &Value| flag(schema, "x-kubernetes-embedded-resource");
    let resource = root || embedded(schema);
    let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    let properties: Vec<(String, Node)> = properties
        .filter(|(name, _)| !(resource && *name == "metadata"))
        .filter_map(|(name, property)| Some((name.clone(), node(property, false, depth + 1)?)))
        .collect();
    let items = schema.get("items").and_then(|items| node(items, false, depth + 1)).map(Box::new);
    let additional = schema.get("additionalProperties").filter(|values| values.is_object());
    let additional = additional.and_then(|values| node(values, false, depth + 1)).map(Box::new);
    let written = schema.get("x-kubernetes-validations").and_then(Value::as_array);
    let found = typed(schema, resource, depth);
    let ty = found.map_or(Type::Dyn, |found| found.ty);
    let rules: Vec<Rule> = written.into_iter().flatten().map(|rule| compile(rule, &ty)).collect();
    if rules.is_empty() && properties.is_empty() && items.is_none() && additional.is_none() {
        return None;
    }
    let keys = match text(schema, "x-kubernetes-list-type") {
        "map" => list_keys(schema),
        _ => Vec::new(),
    };
    let kind = if flag(schema, "x-kubernetes-int-or-string") { "" } else { text(schema, "type") };
    Some(Node { kind: kind.to_owned(), ty, rules, properties, items, keys, additional })
}

/// What a rule at a value of a type may name.
pub(super) fn env(ty: &Type, optional_old: bool) -> Env {
    let old = if optional_old { Type::Optional(ty.clone().into()) } else { ty.clone() };
    Env::new().var("self", ty.clone()).var("oldSelf", old)
}

fn compile(rule: &Value, ty: &Type) -> Rule {
    let optional_old = flag(rule, "optionalOldSelf");
    let env = env(ty, optional_old);
    let expression = text(rule, "rule").trim();
    let program = env.compile(expression).map_err(|error| error.to_string());
    let message_expression = match text(rule, "messageExpression").trim() {
        "" => None,
        written => env.compile(written).ok(),
    };
    let transition = program.as_ref().is_ok_and(|program| program.uses("oldSelf"));
    Rule {
        text: expression.to_owned(),
        program,
        message: text(rule, "message").trim().to_owned(),
        message_expression,
        reason: text(rule, "reason").to_owned(),
        field_path: text(rule, "fieldPath").to_owned(),
        transition,
        optional_old,
    }
}
