//! The functions that templates know: Go's own, and kubectl's `exists` and `base64decode`.

use super::exec::{Val, part, truth};
use super::format::{self, display, type_name};
use base64::Engine;
use serde_json::Value;
use std::borrow::Cow;
use std::cmp::Ordering;

const NAMES: &[&str] = &[
    "and",
    "or",
    "not",
    "len",
    "index",
    "slice",
    "print",
    "printf",
    "println",
    "html",
    "js",
    "urlquery",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "exists",
    "base64decode",
];

pub(super) fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Calls a function other than `and` and `or`; fails with what stands behind the place in Go's errors.
pub(super) fn call<'v>(name: &str, mut values: Vec<Val<'v>>) -> Result<Val<'v>, String> {
    let count = values.len();
    let least = match name {
        "print" | "println" | "html" | "js" | "urlquery" => 0,
        "ne" | "lt" | "le" | "gt" | "ge" => 2,
        _ => 1,
    };
    if count < least {
        let plus =
            if matches!(name, "not" | "len" | "base64decode") || least == 2 { "" } else { "at least " };
        return Err(format!("wrong number of args for {name}: want {plus}{least} got {count}"));
    }
    let own = |value: Value| Ok(Some(Cow::Owned(value)));
    let called =
        |outcome: Result<Val<'v>, String>| outcome.map_err(|why| format!("error calling {name}: {why}"));
    match name {
        "not" => own((!truth(&values[0])).into()),
        "len" => called(length(&values[0]).map(|length| Some(Cow::Owned(length.into())))),
        "index" => called(index(values)),
        "exists" => own(index(values).is_ok_and(|found| found.is_some()).into()),
        "slice" => called(slice(&values)),
        "print" => own(format::print(&values).into()),
        "println" => {
            let all: Vec<String> = values
                .iter()
                .map(|value| value.as_deref().map_or_else(|| "<nil>".to_owned(), display))
                .collect();
            own((all.join(" ") + "\n").into())
        }
        "printf" => {
            let first = values.remove(0);
            match first.as_deref().and_then(Value::as_str) {
                Some(text) => own(format::printf(text, &values).into()),
                None => Err("error calling printf: the format is not a string".to_owned()),
            }
        }
        "html" => own(html(&joined(&values)).into()),
        "js" => own(js(&joined(&values)).into()),
        "urlquery" => own(url_query(&joined(&values)).into()),
        "base64decode" => called(decode(&values[0])),
        "eq" => called(equal(&values).map(|same| Some(Cow::Owned(same.into())))),
        "ne" => called(equal(&values).map(|same| Some(Cow::Owned((!same).into())))),
        _ => called(compare(&values[0], &values[1]).map(|order| {
            let holds = match name {
                "lt" => order == Ordering::Less,
                "le" => order != Ordering::Greater,
                "gt" => order == Ordering::Greater,
                _ => order != Ordering::Less,
            };
            Some(Cow::Owned(holds.into()))
        })),
    }
}

fn joined(values: &[Val<'_>]) -> String {
    match values {
        [Some(one)] if one.is_string() => one.as_str().unwrap_or_default().to_owned(),
        all => format::print(all),
    }
}

fn length(value: &Val<'_>) -> Result<usize, String> {
    match value {
        None => Err("reflect: call of reflect.Value.Type on zero Value".to_owned()),
        Some(value) => match &**value {
            Value::String(text) => Ok(text.len()),
            Value::Array(items) => Ok(items.len()),
            Value::Object(map) => Ok(map.len()),
            _ => Err(format!("len of type {}", type_name(value))),
        },
    }
}

fn index(values: Vec<Val<'_>>) -> Result<Val<'_>, String> {
    let mut values = values.into_iter();
    let Some(mut value) = values.next().flatten() else { return Err("index of untyped nil".to_owned()) };
    for key in values {
        let Some(key) = key else { return Err("cannot index slice/array with nil".to_owned()) };
        let next = match &*value {
            Value::Array(items) => {
                let Some(at) = key.as_i64() else {
                    return Err(format!("cannot index slice/array with type {}", type_name(&key)));
                };
                let Some(at) = usize::try_from(at).ok().filter(|at| *at < items.len()) else {
                    return Err(format!("index out of range: {at}"));
                };
                part(value, |value| value.get(at))
            }
            Value::Object(_) => {
                let Some(name) = key.as_str().map(str::to_owned) else {
                    return Err(format!("value has type {}; should be string", type_name(&key)));
                };
                part(value, |value| value.get(&name))
            }
            Value::Null => return Err("index of nil pointer".to_owned()),
            _ => return Err(format!("can't index item of type {}", type_name(&value))),
        };
        let Some(found) = next else { return Ok(None) };
        value = found;
    }
    Ok(Some(value))
}

fn slice<'v>(values: &[Val<'_>]) -> Result<Val<'v>, String> {
    let Some(value) = &values[0] else { return Err("slice of untyped nil".to_owned()) };
    let length = match &**value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.len(),
        _ => return Err(format!("can't slice item of type {}", type_name(value))),
    };
    let bound = |at: usize, default: usize| match values.get(at) {
        None => Ok(default),
        Some(Some(bound)) => {
            let Some(at) = bound.as_i64() else {
                return Err(format!("cannot index slice/array with type {}", type_name(bound)));
            };
            usize::try_from(at)
                .ok()
                .filter(|at| *at <= length)
                .ok_or_else(|| format!("index out of range: {at}"))
        }
        Some(None) => Err("cannot index slice/array with nil".to_owned()),
    };
    let (from, to) = (bound(1, 0)?, bound(2, length)?);
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    let cut = match &**value {
        Value::String(text) => String::from_utf8_lossy(&text.as_bytes()[from..to]).into_owned().into(),
        Value::Array(items) => Value::Array(items[from..to].to_vec()),
        _ => Value::Null,
    };
    Ok(Some(Cow::Owned(cut)))
}

fn html(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&#34;"),
            '\0' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

fn js(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '\\' | '\'' | '"' => {
                out.push('\\');
                out.push(c);
            }
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

fn url_query(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

fn decode<'v>(value: &Val<'_>) -> Result<Val<'v>, String> {
    let text = value.as_deref().and_then(Value::as_str).unwrap_or_default();
    let bytes = base64::engine::general_purpose::STANDARD.decode(text);
    let bytes = bytes.map_err(|error| {
        let at = match error {
            base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
            _ => text.len(),
        };
        format!("base64 decode failed: illegal base64 data at input byte {at}")
    })?;
    Ok(Some(Cow::Owned(String::from_utf8_lossy(&bytes).into_owned().into())))
}

const INCOMPATIBLE: &str = "incompatible types for comparison";

fn equal(values: &[Val<'_>]) -> Result<bool, String> {
    let Some((first, others)) = values.split_first() else {
        return Err("missing argument for comparison".to_owned());
    };
    if others.is_empty() {
        return Err("missing argument for comparison".to_owned());
    }
    for other in others {
        let same = match (first.as_deref(), other.as_deref()) {
            (None | Some(Value::Null), None | Some(Value::Null)) => true,
            (None | Some(Value::Null), _) | (_, None | Some(Value::Null)) => false,
            (Some(Value::Array(_) | Value::Object(_)), _) | (_, Some(Value::Array(_) | Value::Object(_))) => {
                return Err("non-comparable type".to_owned());
            }
            (Some(Value::Bool(a)), Some(Value::Bool(b))) => a == b,
            _ => compare(first, other)? == Ordering::Equal,
        };
        if same {
            return Ok(true);
        }
    }
    Ok(false)
}

fn compare(a: &Val<'_>, b: &Val<'_>) -> Result<Ordering, String> {
    match (a.as_deref(), b.as_deref()) {
        (Some(Value::String(a)), Some(Value::String(b))) => Ok(a.cmp(b)),
        (Some(Value::Number(a)), Some(Value::Number(b))) if a.is_f64() == b.is_f64() => {
            if let (Some(a), Some(b)) = (a.as_i64(), b.as_i64()) {
                return Ok(a.cmp(&b));
            }
            a.as_f64().partial_cmp(&b.as_f64()).ok_or_else(|| INCOMPATIBLE.to_owned())
        }
        (Some(Value::Bool(_)), Some(Value::Bool(_))) => Err("invalid type for comparison".to_owned()),
        _ => Err(INCOMPATIBLE.to_owned()),
    }
}
