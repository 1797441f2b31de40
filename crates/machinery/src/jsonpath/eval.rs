//! [`Part`]s applied to objects.

use super::{Compare, JsonPathError, Operand, Part, Slice, Step, display};
use serde_json::Value;
use std::cmp::Ordering;

pub(super) fn render(
    parts: &[Part],
    root: &Value,
    current: &Value,
    out: &mut String,
) -> Result<(), JsonPathError> {
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Path(steps) => {
                let found = walk(steps, root, vec![current])?;
                let words: Vec<String> = found.into_iter().map(display).collect();
                out.push_str(&words.join(" "));
            }
            Part::Range(steps, body) => {
                for item in walk(steps, root, vec![current])? {
                    render(body, root, item, out)?;
                }
            }
        }
    }
    Ok(())
}

pub(super) fn find<'v>(
    parts: &'v [Part],
    root: &'v Value,
    current: &'v Value,
    out: &mut Vec<&'v Value>,
) -> Result<(), JsonPathError> {
    for part in parts {
        match part {
            Part::Text(_) => {}
            Part::Path(steps) => out.extend(walk(steps, root, vec![current])?),
            Part::Range(steps, body) => {
                for item in walk(steps, root, vec![current])? {
                    find(body, root, item, out)?;
                }
            }
        }
    }
    Ok(())
}

fn walk<'v>(
    steps: &[Step],
    root: &'v Value,
    mut at: Vec<&'v Value>,
) -> Result<Vec<&'v Value>, JsonPathError> {
    for step in steps {
        let mut next = Vec::new();
        for value in at {
            apply(step, root, value, &mut next)?;
        }
        at = next;
    }
    Ok(at)
}

fn apply<'v>(
    step: &Step,
    root: &'v Value,
    value: &'v Value,
    out: &mut Vec<&'v Value>,
) -> Result<(), JsonPathError> {
    match step {
        Step::Root => out.push(root),
        Step::Field(name) => match value {
            Value::Object(map) => out.extend(map.get(name)),
            Value::Null | Value::Array(_) => {}
            _ => {}
        },
        Step::Slice(slice) => {
            if let Value::Array(items) = value {
                pick(*slice, items, out)?;
            } else if !value.is_null() {
                return Err(JsonPathError(format!("{value} is not array or slice")));
            }
        }
        Step::Wildcard => match value {
            Value::Array(items) => out.extend(items),
            Value::Object(map) => out.extend(sorted(map)),
            _ => {}
        },
        Step::Recursive => descend(value, out),
        Step::Union(members) => {
            for member in members {
                apply(member, root, value, out)?;
            }
        }
        Step::Filter(left, compare, right) => {
            let Value::Array(items) = value else { return Ok(()) };
            for item in items {
                if holds(left, *compare, right.as_ref(), root, item)? {
                    out.push(item);
                }
            }
        }
    }
    Ok(())
}

fn sorted(map: &serde_json::Map<String, Value>) -> impl Iterator<Item = &Value> {
    let mut entries: Vec<(&String, &Value)> = map.iter().collect();
    entries.sort_by_key(|(key, _)| *key);
    entries.into_iter().map(|(_, value)| value)
}

fn descend<'v>(value: &'v Value, out: &mut Vec<&'v Value>) {
    match value {
        Value::Object(map) => {
            out.push(value);
            sorted(map).for_each(|inner| descend(inner, out));
        }
        Value::Array(items) => {
            out.push(value);
            items.iter().for_each(|inner| descend(inner, out));
        }
        _ => {}
    }
}

fn pick<'v>(slice: Slice, items: &'v [Value], out: &mut Vec<&'v Value>) -> Result<(), JsonPathError> {
    let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let absolute = |at: i64| if at < 0 { at.saturating_add(length) } else { at };
    if slice.single {
        let at = absolute(slice.start.unwrap_or(0));
        let item = usize::try_from(at).ok().and_then(|at| items.get(at));
        out.push(item.ok_or_else(|| {
            JsonPathError(format!(
                "array index out of bounds: index {}, length {length}",
                slice.start.unwrap_or(0)
            ))
        })?);
        return Ok(());
    }
    let start = usize::try_from(absolute(slice.start.unwrap_or(0)).clamp(0, length)).unwrap_or(0);
    let end = usize::try_from(absolute(slice.end.unwrap_or(length)).clamp(0, length)).unwrap_or(0);
    let step = usize::try_from(slice.step.unwrap_or(1)).unwrap_or(1).max(1);
    out.extend(items.iter().take(end).skip(start).step_by(step));
    Ok(())
}

fn holds(
    left: &Operand,
    compare: Compare,
    right: Option<&Operand>,
    root: &Value,
    item: &Value,
) -> Result<bool, JsonPathError> {
    let values = |operand: &Operand| -> Result<Vec<Value>, JsonPathError> {
        Ok(match operand {
            Operand::Literal(value) => vec![value.clone()],
            Operand::Path(steps) => walk(steps, root, vec![item])?.into_iter().cloned().collect(),
        })
    };
    let left = values(left)?;
    let Some(right) = right else { return Ok(!left.is_empty()) };
    let right = values(right)?;
    if left.len() > 1 || right.len() > 1 {
        return Err(JsonPathError("can only compare one element at a time".to_owned()));
    }
    let (Some(left), Some(right)) = (left.first(), right.first()) else { return Ok(false) };
    let order = match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64().partial_cmp(&right.as_f64()),
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        _ => (left == right).then_some(Ordering::Equal),
    };
    Ok(match compare {
        Compare::Exists => true,
        Compare::Equal => order == Some(Ordering::Equal),
        Compare::NotEqual => order != Some(Ordering::Equal),
        Compare::Less => order == Some(Ordering::Less),
        Compare::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        Compare::Greater => order == Some(Ordering::Greater),
        Compare::GreaterOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    })
}
