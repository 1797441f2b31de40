//! Equality and order of values (CEL specification, "Equality" and "Ordering"): numbers compare across types.

use crate::error::EvalError;
use crate::signature::Call;
use crate::types::ListKind;
use crate::value::{List, Map, Val};
use std::cmp::Ordering;

/// Whether two values are equal. Lists that are sets or maps by their schema are equal in any order.
pub(crate) fn equal<'a>(call: &mut Call<'_>, a: &Val<'a>, b: &Val<'a>) -> Result<bool, EvalError> {
    call.work(1)?;
    Ok(match (a, b) {
        (Val::Null, Val::Null) => true,
        (Val::Bool(a), Val::Bool(b)) => a == b,
        (Val::String(a), Val::String(b)) => **a == **b,
        (Val::Bytes(a), Val::Bytes(b)) => a == b,
        (Val::Duration(a), Val::Duration(b)) => a == b,
        (Val::Timestamp(a), Val::Timestamp(b)) => a == b,
        (Val::Type(a), Val::Type(b)) => a == b,
        (Val::Opaque(a), Val::Opaque(b)) => a.equals(b),
        (Val::Optional(a), Val::Optional(b)) => match (a, b) {
            (None, None) => true,
            (Some(a), Some(b)) => equal(call, a, b)?,
            _ => false,
        },
        (Val::List(a), Val::List(b)) => lists(call, a, b)?,
        (Val::Map(a), Val::Map(b)) => maps(call, a, b)?,
        (a, b) => match (number(a), number(b)) {
            (Some(a), Some(b)) => a.compare(b) == Some(Ordering::Equal),
            _ => false,
        },
    })
}

fn lists<'a>(call: &mut Call<'_>, a: &List<'a>, b: &List<'a>) -> Result<bool, EvalError> {
    if a.len() != b.len() {
        return Ok(false);
    }
    let kind = if *a.kind() == ListKind::Atomic { b.kind() } else { a.kind() };
    if *kind == ListKind::Atomic {
        for (a, b) in a.iter().zip(b.iter()) {
            if !equal(call, &a, &b)? {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    for item in a.iter() {
        if !contains(call, b, &item)? {
            return Ok(false);
        }
    }
    for item in b.iter() {
        if !contains(call, a, &item)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether an item of a list equals `item`.
pub(crate) fn contains<'a>(call: &mut Call<'_>, list: &List<'a>, item: &Val<'a>) -> Result<bool, EvalError> {
    for found in list.iter() {
        if equal(call, &found, item)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn maps<'a>(call: &mut Call<'_>, a: &Map<'a>, b: &Map<'a>) -> Result<bool, EvalError> {
    if a.len() != b.len() {
        return Ok(false);
    }
    for (key, value) in a.entries() {
        call.work(1)?;
        let other = match (b, &key) {
            // Objects are asked by the name in JSON, which is what entries have.
            (Map::Json(..), Val::String(name)) => b.entries_value(name),
            _ => b.get(&key),
        };
        let Some(other) = other else { return Ok(false) };
        if !equal(call, &value, &other)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A number of any type.
#[derive(Clone, Copy)]
pub(crate) enum Number {
    Whole(i128),
    Double(f64),
}

pub(crate) fn number(value: &Val<'_>) -> Option<Number> {
    Some(match value {
        Val::Int(n) => Number::Whole(i128::from(*n)),
        Val::Uint(n) => Number::Whole(i128::from(*n)),
        Val::Double(n) => Number::Double(*n),
        _ => return None,
    })
}

impl Number {
    pub(crate) fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Whole(a), Self::Whole(b)) => Some(a.cmp(&b)),
            (Self::Double(a), Self::Double(b)) => a.partial_cmp(&b),
            (Self::Whole(a), Self::Double(b)) => whole_against(a, b),
            (Self::Double(a), Self::Whole(b)) => whole_against(b, a).map(Ordering::reverse),
        }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the range was checked")]
fn whole_against(a: i128, b: f64) -> Option<Ordering> {
    if b.is_nan() {
        return None;
    }
    if b.abs() >= 1e30 {
        return Some(if b > 0.0 { Ordering::Less } else { Ordering::Greater });
    }
    let floor = b.floor();
    match a.cmp(&(floor as i128)) {
        Ordering::Equal if b > floor => Some(Ordering::Less),
        other => Some(other),
    }
}

/// The order of two values; `None` when they have none.
pub(crate) fn order(a: &Val<'_>, b: &Val<'_>) -> Option<Ordering> {
    match (a, b) {
        (Val::Bool(a), Val::Bool(b)) => Some(a.cmp(b)),
        (Val::String(a), Val::String(b)) => Some((**a).cmp(&**b)),
        (Val::Bytes(a), Val::Bytes(b)) => Some(a.cmp(b)),
        (Val::Duration(a), Val::Duration(b)) => Some(a.cmp(b)),
        (Val::Timestamp(a), Val::Timestamp(b)) => Some(a.cmp(b)),
        (a, b) => number(a)?.compare(number(b)?),
    }
}
