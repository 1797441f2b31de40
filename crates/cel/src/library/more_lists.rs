//! Lists as sets (`sets.…`), and cel-go's extension of lists: `slice`, `flatten`, `sort`, `distinct`, `reverse`,
//! `lists.range`, `first`, `last`.

use super::{fail, none};
use crate::error::EvalError;
use crate::eval::equal::{contains, order};
use crate::signature::{Call, Cost, Function, row};
use crate::value::{List, Val};
use std::cmp::Ordering;

/// The longest list that `lists.range` makes.
const MAX_RANGE: i64 = 1_000_000;

pub(super) static TABLE: &[Function] = &[
    row("sets.contains", &["(list(A), list(A)) -> bool"], Cost::Product(1), |call, args| {
        let [Val::List(a), Val::List(b)] = args else { return none() };
        Ok(Val::Bool(has_all(call, a, b)?))
    }),
    row("sets.equivalent", &["(list(A), list(A)) -> bool"], Cost::Product(2), |call, args| {
        let [Val::List(a), Val::List(b)] = args else { return none() };
        Ok(Val::Bool(has_all(call, a, b)? && has_all(call, b, a)?))
    }),
    row("sets.intersects", &["(list(A), list(A)) -> bool"], Cost::Product(1), |call, args| {
        let [Val::List(a), Val::List(b)] = args else { return none() };
        for item in b.iter() {
            if contains(call, a, &item)? {
                return Ok(Val::Bool(true));
            }
        }
        Ok(Val::Bool(false))
    }),
    row("slice", &["list(A).(int, int) -> list(A)"], Cost::Items(0), |_, args| {
        let [Val::List(list), Val::Int(start), Val::Int(end)] = args else { return none() };
        match (usize::try_from(*start), usize::try_from(*end)) {
            (Ok(start), Ok(end)) if start <= end && end <= list.len() => {
                Ok(Val::list((start..end).filter_map(|at| list.get(at)).collect()))
            }
            (Ok(start), Ok(end)) if start > end => fail(format!(
                "cannot slice({start}, {end}), start index must be less than or equal to end index"
            )),
            (Ok(start), Ok(end)) => {
                fail(format!("cannot slice({start}, {end}), list is length {}", list.len()))
            }
            _ => fail(format!("cannot slice({start}, {end}), negative indexes not supported")),
        }
    }),
    row(
        "flatten",
        &["list(dyn).() -> list(dyn)", "list(dyn).(int) -> list(dyn)"],
        Cost::Items(0),
        |call, args| {
            let (list, depth) = match args {
                [Val::List(list)] => (list, 1),
                [Val::List(list), Val::Int(depth)] if *depth >= 0 => (list, *depth),
                [Val::List(_), Val::Int(_)] => return fail("level must be non-negative"),
                _ => return none(),
            };
            let mut out = Vec::new();
            flatten(call, list, depth.min(128), &mut out)?;
            Ok(Val::list(out))
        },
    ),
    row("sort", &["list(A).() -> list(A)"], Cost::Product(1), |_, args| {
        let [Val::List(list)] = args else { return none() };
        let mut items: Vec<Val<'_>> = list.iter().collect();
        if let [first, rest @ ..] = items.as_slice()
            && rest.iter().any(|item| order(first, item).is_none())
        {
            return fail("list elements must have the same type");
        }
        items.sort_by(|a, b| order(a, b).unwrap_or(Ordering::Equal));
        Ok(Val::list(items))
    }),
    row("distinct", &["list(A).() -> list(A)"], Cost::Items(0), |call, args| {
        let [Val::List(list)] = args else { return none() };
        let mut kept: Vec<Val<'_>> = Vec::new();
        for item in list.iter() {
            let mut known = false;
            for other in &kept {
                known = known || crate::eval::equal::equal(call, other, &item)?;
            }
            if !known {
                kept.push(item);
            }
        }
        Ok(Val::list(kept))
    }),
    row("reverse", &["list(A).() -> list(A)", "string.() -> string"], Cost::Items(0), |_, args| match args {
        [Val::List(list)] => {
            let mut items: Vec<Val<'_>> = list.iter().collect();
            items.reverse();
            Ok(Val::list(items))
        }
        [Val::String(text)] => Ok(Val::owned(text.chars().rev().collect::<String>())),
        _ => none(),
    }),
    row("lists.range", &["(int) -> list(int)"], Cost::Fixed(10), |call, args| {
        let [Val::Int(count)] = args else { return none() };
        if *count > MAX_RANGE {
            return fail(format!("lists.range({count}) exceeds the limit of {MAX_RANGE}"));
        }
        call.work(usize::try_from(*count).unwrap_or(0))?;
        Ok(Val::list((0..*count).map(Val::Int).collect()))
    }),
    row("first", &["list(A).() -> optional(A)"], Cost::Fixed(1), |_, args| {
        let [Val::List(list)] = args else { return none() };
        Ok(list.get(0).map_or(Val::Optional(None), Val::some))
    }),
    row("last", &["list(A).() -> optional(A)"], Cost::Fixed(1), |_, args| {
        let [Val::List(list)] = args else { return none() };
        Ok(list.get(list.len().wrapping_sub(1)).map_or(Val::Optional(None), Val::some))
    }),
];

fn has_all<'a>(call: &mut Call<'_>, list: &List<'a>, wanted: &List<'a>) -> Result<bool, EvalError> {
    for item in wanted.iter() {
        if !contains(call, list, &item)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn flatten<'a>(
    call: &mut Call<'_>,
    list: &List<'a>,
    depth: i64,
    out: &mut Vec<Val<'a>>,
) -> Result<(), EvalError> {
    for item in list.iter() {
        call.work(1)?;
        match item {
            Val::List(inner) if depth > 0 => flatten(call, &inner, depth - 1, out)?,
            other => out.push(other),
        }
    }
    Ok(())
}
