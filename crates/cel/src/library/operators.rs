//! Operators: arithmetic, comparison, membership, `size`.

use super::{fail, none};
use crate::error::EvalError;
use crate::eval::equal::{contains, equal, order};
use crate::signature::{Call, Cost, Function, row};
use crate::types::ListKind;
use crate::value::{Key, List, Val};
use jiff::{SignedDuration, Timestamp};
use std::cmp::Ordering;

const ONE: Cost = Cost::Fixed(1);
const COMPARABLE: &[&str] = &[
    "(bool, bool) -> bool",
    "(int, int) -> bool",
    "(int, uint) -> bool",
    "(int, double) -> bool",
    "(uint, uint) -> bool",
    "(uint, int) -> bool",
    "(uint, double) -> bool",
    "(double, double) -> bool",
    "(double, int) -> bool",
    "(double, uint) -> bool",
    "(string, string) -> bool",
    "(bytes, bytes) -> bool",
    "(timestamp, timestamp) -> bool",
    "(duration, duration) -> bool",
];

pub(super) static TABLE: &[Function] = &[
    row("_==_", &["(A, A) -> bool"], Cost::Least, |call, args| match args {
        [a, b] => Ok(Val::Bool(equal(call, a, b)?)),
        _ => none(),
    }),
    row("_!=_", &["(A, A) -> bool"], Cost::Least, |call, args| match args {
        [a, b] => Ok(Val::Bool(!equal(call, a, b)?)),
        _ => none(),
    }),
    row("_<_", COMPARABLE, Cost::Least, |_, args| compare(args, |o| o == Ordering::Less)),
    row("_<=_", COMPARABLE, Cost::Least, |_, args| compare(args, |o| o != Ordering::Greater)),
    row("_>_", COMPARABLE, Cost::Least, |_, args| compare(args, |o| o == Ordering::Greater)),
    row("_>=_", COMPARABLE, Cost::Least, |_, args| compare(args, |o| o != Ordering::Less)),
    row(
        "_+_",
        &[
            "(int, int) -> int",
            "(uint, uint) -> uint",
            "(double, double) -> double",
            "(string, string) -> string",
            "(bytes, bytes) -> bytes",
            "(list(A), list(A)) -> list(A)",
            "(timestamp, duration) -> timestamp",
            "(duration, timestamp) -> timestamp",
            "(duration, duration) -> duration",
        ],
        Cost::Concat,
        add,
    ),
    row(
        "_-_",
        &[
            "(int, int) -> int",
            "(uint, uint) -> uint",
            "(double, double) -> double",
            "(timestamp, timestamp) -> duration",
            "(timestamp, duration) -> timestamp",
            "(duration, duration) -> duration",
        ],
        ONE,
        subtract,
    ),
    row(
        "_*_",
        &["(int, int) -> int", "(uint, uint) -> uint", "(double, double) -> double"],
        ONE,
        |_, args| match args {
            [Val::Int(a), Val::Int(b)] => a.checked_mul(*b).map(Val::Int).ok_or_else(overflow),
            [Val::Uint(a), Val::Uint(b)] => a.checked_mul(*b).map(Val::Uint).ok_or_else(overflow_uint),
            [Val::Double(a), Val::Double(b)] => Ok(Val::Double(a * b)),
            _ => none(),
        },
    ),
    row(
        "_/_",
        &["(int, int) -> int", "(uint, uint) -> uint", "(double, double) -> double"],
        ONE,
        |_, args| match args {
            [Val::Int(_), Val::Int(0)] | [Val::Uint(_), Val::Uint(0)] => fail("division by zero"),
            [Val::Int(a), Val::Int(b)] => a.checked_div(*b).map(Val::Int).ok_or_else(overflow),
            [Val::Uint(a), Val::Uint(b)] => Ok(Val::Uint(a / b)),
            [Val::Double(a), Val::Double(b)] => Ok(Val::Double(a / b)),
            _ => none(),
        },
    ),
    row("_%_", &["(int, int) -> int", "(uint, uint) -> uint"], ONE, |_, args| match args {
        [Val::Int(_), Val::Int(0)] | [Val::Uint(_), Val::Uint(0)] => fail("modulus by zero"),
        [Val::Int(a), Val::Int(b)] => a.checked_rem(*b).map(Val::Int).ok_or_else(overflow),
        [Val::Uint(a), Val::Uint(b)] => Ok(Val::Uint(a % b)),
        _ => none(),
    }),
    row("!_", &["(bool) -> bool"], ONE, |_, args| match args {
        [Val::Bool(b)] => Ok(Val::Bool(!b)),
        _ => none(),
    }),
    row("-_", &["(int) -> int", "(double) -> double", "(duration) -> duration"], ONE, |_, args| match args {
        [Val::Int(n)] => n.checked_neg().map(Val::Int).ok_or_else(overflow),
        [Val::Double(n)] => Ok(Val::Double(-n)),
        [Val::Duration(n)] => n.checked_neg().map(Val::Duration).ok_or_else(overflow),
        _ => none(),
    }),
    row(
        "@in",
        &["(A, list(A)) -> bool", "(A, map(A, B)) -> bool"],
        Cost::Items(1),
        |call, args| match args {
            [item, Val::List(list)] => Ok(Val::Bool(contains(call, list, item)?)),
            [key, Val::Map(map)] => Ok(Val::Bool(Key::of(key).is_some() && map.get(key).is_some())),
            _ => none(),
        },
    ),
    row(
        "size",
        &[
            "(string) -> int",
            "(bytes) -> int",
            "(list(A)) -> int",
            "(map(A, B)) -> int",
            "string.() -> int",
            "bytes.() -> int",
            "list(A).() -> int",
            "map(A, B).() -> int",
        ],
        ONE,
        |_, args| match args {
            [value @ (Val::String(_) | Val::Bytes(_) | Val::List(_) | Val::Map(_))] => {
                Ok(Val::Int(i64::try_from(value.size()).unwrap_or(i64::MAX)))
            }
            _ => none(),
        },
    ),
];

fn compare<'a>(args: &[Val<'a>], wanted: fn(Ordering) -> bool) -> Result<Val<'a>, EvalError> {
    let [a, b] = args else { return none() };
    match order(a, b) {
        Some(found) => Ok(Val::Bool(wanted(found))),
        // Numbers without an order: one is no number.
        None if matches!((a, b), (Val::Double(_), _) | (_, Val::Double(_))) => Ok(Val::Bool(false)),
        None => none(),
    }
}

fn overflow() -> EvalError {
    EvalError::new("return error for overflow")
}

fn overflow_uint() -> EvalError {
    EvalError::new("return error for overflow")
}

fn shift<'a>(time: Timestamp, nanos: i64) -> Result<Val<'a>, EvalError> {
    let moved = time.checked_add(SignedDuration::from_nanos(nanos)).map_err(|_| overflow())?;
    Ok(Val::Timestamp(moved))
}

fn add<'a>(call: &mut Call<'_>, args: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
    match args {
        [Val::Int(a), Val::Int(b)] => a.checked_add(*b).map(Val::Int).ok_or_else(overflow),
        [Val::Uint(a), Val::Uint(b)] => a.checked_add(*b).map(Val::Uint).ok_or_else(overflow_uint),
        [Val::Double(a), Val::Double(b)] => Ok(Val::Double(a + b)),
        [Val::String(a), Val::String(b)] => Ok(Val::owned([&**a, &**b].concat())),
        [Val::Bytes(a), Val::Bytes(b)] => Ok(Val::Bytes([&**a, &**b].concat().into())),
        [Val::Duration(a), Val::Duration(b)] => a.checked_add(*b).map(Val::Duration).ok_or_else(overflow),
        [Val::Timestamp(time), Val::Duration(nanos)] | [Val::Duration(nanos), Val::Timestamp(time)] => {
            shift(*time, *nanos)
        }
        [Val::List(a), Val::List(b)] => {
            // What is kept is dearer than what is only looked at: this bounds memory.
            call.work((a.len() + b.len()).saturating_mul(16))?;
            merged(call, a, b)
        }
        _ => none(),
    }
}

/// Sets take what they lack; maps replace entries of the same keys; other lists are put one behind the other.
fn merged<'a>(call: &mut Call<'_>, a: &List<'a>, b: &List<'a>) -> Result<Val<'a>, EvalError> {
    let mut items: Vec<Val<'a>> = a.iter().collect();
    match a.kind() {
        ListKind::Atomic => items.extend(b.iter()),
        ListKind::Set => {
            for item in b.iter() {
                if !contains(call, a, &item)? {
                    items.push(item);
                }
            }
        }
        ListKind::Map(keys) => {
            for item in b.iter() {
                let mut place = None;
                for (at, known) in items.iter().enumerate() {
                    if same_keys(call, keys, known, &item)? {
                        place = Some(at);
                        break;
                    }
                }
                match place {
                    Some(at) => items[at] = item,
                    None => items.push(item),
                }
            }
        }
    }
    Ok(Val::list(items))
}

fn same_keys<'a>(call: &mut Call<'_>, keys: &[String], a: &Val<'a>, b: &Val<'a>) -> Result<bool, EvalError> {
    let (Val::Map(a), Val::Map(b)) = (a, b) else { return Ok(false) };
    for key in keys {
        let same = match (a.entries_value(key), b.entries_value(key)) {
            (Some(a), Some(b)) => equal(call, &a, &b)?,
            (None, None) => true,
            _ => false,
        };
        if !same {
            return Ok(false);
        }
    }
    Ok(true)
}

fn subtract<'a>(_: &mut Call<'_>, args: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
    match args {
        [Val::Int(a), Val::Int(b)] => a.checked_sub(*b).map(Val::Int).ok_or_else(overflow),
        [Val::Uint(a), Val::Uint(b)] => a.checked_sub(*b).map(Val::Uint).ok_or_else(overflow_uint),
        [Val::Double(a), Val::Double(b)] => Ok(Val::Double(a - b)),
        [Val::Duration(a), Val::Duration(b)] => a.checked_sub(*b).map(Val::Duration).ok_or_else(overflow),
        [Val::Timestamp(a), Val::Timestamp(b)] => {
            let nanos = a.as_nanosecond() - b.as_nanosecond();
            i64::try_from(nanos).map(Val::Duration).map_err(|_| overflow())
        }
        [Val::Timestamp(time), Val::Duration(nanos)] => {
            shift(*time, nanos.checked_neg().ok_or_else(overflow)?)
        }
        _ => none(),
    }
}
