//! Quantities (Kubernetes' library), and the comparisons that they share with versions.

use super::{fail, none};
use crate::error::EvalError;
use crate::opaque::Opaque;
use crate::signature::{Cost, Function, row};
use crate::value::Val;
use machinery::quantity::Quantity;
use std::cmp::Ordering;

const ONE: Cost = Cost::Fixed(1);
const TEXT: Cost = Cost::Text(0, 1);
const SUM: &[&str] = &["quantity.(quantity) -> quantity", "quantity.(int) -> quantity"];
const COMPARE: &[&str] = &["quantity.(quantity) -> bool", "semver.(semver) -> bool"];

pub(super) static TABLE: &[Function] = &[
    row("quantity", &["(string) -> quantity"], TEXT, |_, args| match args {
        [Val::String(text)] => match Quantity::parse(text) {
            Ok(quantity) => Ok(Val::opaque(Opaque::Quantity(quantity))),
            Err(why) => fail(why.to_string()),
        },
        _ => none(),
    }),
    row("isQuantity", &["(string) -> bool"], TEXT, |_, args| match args {
        [Val::String(text)] => Ok(Val::Bool(Quantity::parse(text).is_ok())),
        _ => none(),
    }),
    row("sign", &["quantity.() -> int"], ONE, |_, args| {
        of(args).map_or_else(none, |(q, _)| Ok(Val::Int(i64::from(q.sign()))))
    }),
    row("isInteger", &["quantity.() -> bool"], ONE, |_, args| {
        of(args).map_or_else(none, |(q, _)| Ok(Val::Bool(q.as_i64().is_some())))
    }),
    row("asInteger", &["quantity.() -> int"], ONE, |_, args| match of(args) {
        Some((quantity, _)) => match quantity.as_i64() {
            Some(n) => Ok(Val::Int(n)),
            None => fail("cannot convert value to integer"),
        },
        None => none(),
    }),
    row("asApproximateFloat", &["quantity.() -> double"], ONE, |_, args| {
        of(args).map_or_else(none, |(q, _)| Ok(Val::Double(q.as_f64())))
    }),
    row("add", SUM, ONE, |_, args| with(args, |a, b| a + b)),
    row("sub", SUM, ONE, |_, args| with(args, |a, b| a - b)),
    row("isGreaterThan", COMPARE, ONE, |_, args| compare(args, |o| o == Ordering::Greater)),
    row("isLessThan", COMPARE, ONE, |_, args| compare(args, |o| o == Ordering::Less)),
    row("compareTo", &["quantity.(quantity) -> int", "semver.(semver) -> int"], ONE, |_, args| {
        let Some(found) = order(args) else { return none() };
        Ok(Val::Int(found as i64))
    }),
];

fn of(args: &[Val<'_>]) -> Option<(Quantity, ())> {
    let Val::Opaque(value) = args.first()? else { return None };
    match &**value {
        Opaque::Quantity(quantity) => Some((*quantity, ())),
        _ => None,
    }
}

fn with<'a>(args: &[Val<'a>], join: fn(Quantity, Quantity) -> Quantity) -> Result<Val<'a>, EvalError> {
    let [Val::Opaque(a), b] = args else { return none() };
    let Opaque::Quantity(a) = &**a else { return none() };
    let b = match b {
        Val::Int(n) => Quantity::new(*n, machinery::quantity::Format::DecimalSi),
        Val::Opaque(b) => match &**b {
            Opaque::Quantity(b) => *b,
            _ => return none(),
        },
        _ => return none(),
    };
    Ok(Val::opaque(Opaque::Quantity(join(*a, b))))
}

fn order(args: &[Val<'_>]) -> Option<Ordering> {
    let [Val::Opaque(a), Val::Opaque(b)] = args else { return None };
    match (&**a, &**b) {
        (Opaque::Quantity(a), Opaque::Quantity(b)) => Some(a.cmp(b)),
        (Opaque::Semver(a), Opaque::Semver(b)) => Some(a.compare(b)),
        _ => None,
    }
}

fn compare<'a>(args: &[Val<'a>], wanted: fn(Ordering) -> bool) -> Result<Val<'a>, EvalError> {
    order(args).map_or_else(none, |found| Ok(Val::Bool(wanted(found))))
}
