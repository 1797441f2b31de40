//! Rules against values.

use super::{Head, Node, Rule};
use cel::{Budget, EvalError, Map as CelMap, RUN_LIMIT, Shape, Type, Val};
use machinery::field::{FieldError, FieldErrorType};
use machinery::{FieldErrors, FieldPath};
use serde_json::{Map, Value, json};

/// Characters of a message that an expression makes.
const MAX_MESSAGE: usize = 5 * 1024;
/// Errors reported for one object.
const MAX_ERRORS: usize = 64;

struct Run<'e> {
    budget: Budget,
    errors: &'e mut FieldErrors,
    /// Set when no further rule may run.
    over: bool,
}

/// Judges a whole resource.
pub(super) fn resource(
    tree: &Node,
    head: &Head<'_>,
    fields: &Map<String, Value>,
    old: Option<&Map<String, Value>>,
    errors: &mut FieldErrors,
) {
    let mut front = Map::new();
    front.insert("apiVersion".to_owned(), json!(head.api_version));
    front.insert("kind".to_owned(), json!(head.kind));
    let mut meta = Map::new();
    for (key, value) in [("name", head.name), ("generateName", head.generate_name)] {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            meta.insert(key.to_owned(), json!(value));
        }
    }
    front.insert("metadata".to_owned(), Value::Object(meta));
    let whole = |fields| match &tree.ty {
        Type::Object(shape) => Val::Map(CelMap::Json(fields, Some(&front), Shape::Object(&**shape))),
        _ => Val::Null,
    };
    let mut run = Run { budget: Budget::new(RUN_LIMIT), errors, over: false };
    let path = FieldPath::root();
    let unchanged = old == Some(fields);
    run.rules(tree, &whole(fields), old.map(whole), unchanged, &path);
    run.children(tree, fields, old, &path);
}

impl Run<'_> {
    fn value(&mut self, node: &Node, value: &Value, old: Option<&Value>, path: &FieldPath) {
        if self.over || value.is_null() || self.errors.0.len() >= MAX_ERRORS {
            return;
        }
        let old = old.filter(|old| !old.is_null());
        let unchanged = old == Some(value);
        let typed = |value| Val::json(value, &node.ty);
        self.rules(node, &typed(value), old.map(typed), unchanged, path);
        match value {
            Value::Object(fields) => self.children(node, fields, old.and_then(Value::as_object), path),
            Value::Array(items) => {
                let Some(child) = &node.items else { return };
                let before = old.and_then(Value::as_array);
                for (at, item) in items.iter().enumerate() {
                    self.value(child, item, counterpart(&node.keys, item, before), &path.index(at));
                }
            }
            _ => {}
        }
    }

    fn children(
        &mut self,
        node: &Node,
        fields: &Map<String, Value>,
        old: Option<&Map<String, Value>>,
        path: &FieldPath,
    ) {
        for (name, child) in &node.properties {
            if let Some(value) = fields.get(name) {
                self.value(child, value, old.and_then(|old| old.get(name)), &path.child(name));
            }
        }
        if let Some(child) = &node.additional {
            for (name, value) in fields {
                self.value(child, value, old.and_then(|old| old.get(name)), &path.key(name));
            }
        }
    }

    fn rules(
        &mut self,
        node: &Node,
        value: &Val<'_>,
        old: Option<Val<'_>>,
        unchanged: bool,
        path: &FieldPath,
    ) {
        for rule in &node.rules {
            if self.over {
                return;
            }
            let before = match (&old, rule.optional_old) {
                (Some(old), false) => old.clone(),
                (None, false) if rule.transition => continue,
                (None, false) => Val::Null,
                (old, true) => Val::Optional(old.clone().map(Into::into)),
            };
            if let Some(error) = self.rule(node, rule, value, before, path) {
                // What was wrong before and is as it was stays tolerated (KEP-4008).
                if !unchanged || rule.transition || self.over {
                    self.errors.0.push(error);
                }
            }
        }
    }

    fn rule(
        &mut self,
        node: &Node,
        rule: &Rule,
        value: &Val<'_>,
        old: Val<'_>,
        path: &FieldPath,
    ) -> Option<FieldError> {
        let program = match &rule.program {
            Ok(program) => program,
            Err(why) => {
                let detail = format!("rule compile error: compilation failed: {why}");
                return Some(invalid(node, path, detail));
            }
        };
        let variables = [("self", value.clone()), ("oldSelf", old)];
        let detail = match program.evaluate(&variables, &mut self.budget) {
            Ok(Val::Bool(true)) => return None,
            Ok(Val::Bool(false)) => return Some(self.broken(node, rule, &variables, path)),
            Ok(_) => "rule evaluation error: the rule is not a bool".to_owned(),
            Err(EvalError::BudgetExceeded) => {
                self.over = true;
                "validation failed due to running out of cost budget, no further validation rules will be run"
                    .to_owned()
            }
            Err(error @ EvalError::CostExceeded) => {
                self.over = true;
                format!(
                    "'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {}",
                    rule.text
                )
            }
            Err(EvalError::Failed(error)) if error.starts_with("no such overload") => format!(
                "'{error}': call arguments did not match a supported operator, function or macro signature for \
                 rule: {}",
                rule.text
            ),
            Err(error) => format!("'{error}' evaluating rule: {}", rule.text),
        };
        Some(invalid(node, path, detail))
    }

    /// The error of a rule that does not hold.
    fn broken(
        &mut self,
        node: &Node,
        rule: &Rule,
        variables: &[(&str, Val<'_>); 2],
        path: &FieldPath,
    ) -> FieldError {
        let made = rule.message_expression.as_ref().and_then(|program| {
            match program.evaluate(variables, &mut self.budget) {
                Ok(Val::String(text)) => Some(text.trim().to_owned())
                    .filter(|text| !text.is_empty() && !text.contains('\n') && text.len() <= MAX_MESSAGE),
                Err(EvalError::BudgetExceeded) => {
                    self.over = true;
                    None
                }
                _ => None,
            }
        });
        let detail = match (made, rule.message.as_str()) {
            (Some(made), _) => made,
            (None, "") => format!("failed rule: {}", rule.text),
            (None, message) => message.to_owned(),
        };
        let field = below(path, &rule.field_path);
        let (kind, value) = match rule.reason.as_str() {
            "FieldValueForbidden" => (FieldErrorType::Forbidden, None),
            "FieldValueRequired" => (FieldErrorType::Required, None),
            "FieldValueDuplicate" => (FieldErrorType::Duplicate, Some(format!("{:?}", node.kind))),
            _ => (FieldErrorType::Invalid, Some(format!("{:?}", node.kind))),
        };
        FieldError { kind, field, value, detail }
    }
}

fn invalid(node: &Node, path: &FieldPath, detail: String) -> FieldError {
    let value = Some(format!("{:?}", node.kind));
    FieldError { kind: FieldErrorType::Invalid, field: path.clone(), value, detail }
}

/// A path below another, from its JSONPath form (`.a.b`, `['c-d']`).
fn below(path: &FieldPath, more: &str) -> FieldPath {
    let mut path = path.clone();
    let mut rest = more;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix("['")
            && let Some((name, after)) = inner.split_once("']")
        {
            path = path.child(name);
            rest = after;
            continue;
        }
        let word = rest.strip_prefix('.').unwrap_or(rest);
        let end = word.find(['.', '[']).unwrap_or(word.len()).max(1).min(word.len());
        if end == 0 {
            break;
        }
        path = path.child(&word[..end]);
        rest = &word[end..];
    }
    path
}

/// The item of the old list that has the same keys.
pub(in crate::crd::schema) fn counterpart<'v>(
    keys: &[String],
    item: &Value,
    old: Option<&'v Vec<Value>>,
) -> Option<&'v Value> {
    if keys.is_empty() {
        return None;
    }
    old?.iter().find(|old| keys.iter().all(|key| old.get(key) == item.get(key)))
}
