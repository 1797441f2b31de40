//! Conversions between types.

use super::{fail, none};
use crate::error::EvalError;
use crate::signature::{Call, Cost, Function, row};
use crate::time;
use crate::value::Val;
use jiff::Timestamp;

const ONE: Cost = Cost::Fixed(1);

pub(super) static TABLE: &[Function] = &[
    row(
        "int",
        &["(int) -> int", "(uint) -> int", "(double) -> int", "(string) -> int", "(timestamp) -> int"],
        ONE,
        int,
    ),
    row("uint", &["(uint) -> uint", "(int) -> uint", "(double) -> uint", "(string) -> uint"], ONE, uint),
    row(
        "double",
        &["(double) -> double", "(int) -> double", "(uint) -> double", "(string) -> double"],
        ONE,
        double,
    ),
    row(
        "string",
        &[
            "(string) -> string",
            "(bool) -> string",
            "(int) -> string",
            "(uint) -> string",
            "(double) -> string",
            "(bytes) -> string",
            "(timestamp) -> string",
            "(duration) -> string",
            "(ip) -> string",
            "(cidr) -> string",
        ],
        ONE,
        string,
    ),
    row("bytes", &["(bytes) -> bytes", "(string) -> bytes"], Cost::Text(0, 1), |_, args| match args {
        [Val::Bytes(bytes)] => Ok(Val::Bytes(bytes.clone())),
        [Val::String(text)] => Ok(Val::Bytes(text.as_bytes().into())),
        _ => none(),
    }),
    row("bool", &["(bool) -> bool", "(string) -> bool"], ONE, |_, args| match args {
        [Val::Bool(b)] => Ok(Val::Bool(*b)),
        [Val::String(text)] => match &**text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Val::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Val::Bool(false)),
            other => fail(format!("type conversion error from 'string' to 'bool': {other:?}")),
        },
        _ => none(),
    }),
    row(
        "duration",
        &["(duration) -> duration", "(string) -> duration", "(int) -> duration"],
        ONE,
        |_, args| match args {
            [Val::Duration(nanos)] | [Val::Int(nanos)] => Ok(Val::Duration(*nanos)),
            [Val::String(text)] => match time::parse_duration(text) {
                Some(nanos) => Ok(Val::Duration(nanos)),
                None => fail(format!("time: invalid duration {:?}", &**text)),
            },
            _ => none(),
        },
    ),
    row(
        "timestamp",
        &["(timestamp) -> timestamp", "(string) -> timestamp", "(int) -> timestamp"],
        ONE,
        |_, args| match args {
            [Val::Timestamp(time)] => Ok(Val::Timestamp(*time)),
            [Val::Int(seconds)] => match Timestamp::from_second(*seconds) {
                Ok(time) => Ok(Val::Timestamp(time)),
                Err(_) => fail("timestamp overflow"),
            },
            [Val::String(text)] => match time::parse_timestamp(text) {
                Some(time) => Ok(Val::Timestamp(time)),
                None => fail(format!("parsing time {:?}: not of RFC 3339", &**text)),
            },
            _ => none(),
        },
    ),
    row("type", &["(A) -> type"], ONE, |_, args| match args {
        [value] => Ok(Val::Type(value.type_name())),
        _ => none(),
    }),
    row("dyn", &["(A) -> dyn"], ONE, |_, args| match args {
        [value] => Ok(value.clone()),
        _ => none(),
    }),
];

fn range<'a>(kind: &str) -> Result<Val<'a>, EvalError> {
    fail(format!("{kind} overflow"))
}

#[allow(clippy::cast_possible_truncation, reason = "the range was checked")]
fn int<'a>(_: &mut Call<'_>, args: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
    match args {
        [Val::Int(n)] => Ok(Val::Int(*n)),
        [Val::Uint(n)] => i64::try_from(*n).map(Val::Int).or_else(|_| range("integer")),
        [Val::Double(n)] if *n > -9.223_372_036_854_775e18 && *n < 9.223_372_036_854_775e18 => {
            Ok(Val::Int(n.trunc() as i64))
        }
        [Val::Double(_)] => range("integer"),
        [Val::String(text)] => match text.parse() {
            Ok(n) => Ok(Val::Int(n)),
            Err(_) => fail(format!("strconv.ParseInt: parsing {:?}: invalid syntax", &**text)),
        },
        [Val::Timestamp(time)] => Ok(Val::Int(time.as_second())),
        _ => none(),
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked")]
fn uint<'a>(_: &mut Call<'_>, args: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
    match args {
        [Val::Uint(n)] => Ok(Val::Uint(*n)),
        [Val::Int(n)] => u64::try_from(*n).map(Val::Uint).or_else(|_| range("unsigned integer")),
        [Val::Double(n)] if *n >= 0.0 && *n < 1.8e19 => Ok(Val::Uint(n.trunc() as u64)),
        [Val::Double(_)] => range("unsigned integer"),
        [Val::String(text)] => match text.parse() {
            Ok(n) => Ok(Val::Uint(n)),
            Err(_) => fail(format!("strconv.ParseUint: parsing {:?}: invalid syntax", &**text)),
        },
        _ => none(),
    }
}

#[allow(clippy::cast_precision_loss, reason = "that is what the caller asks for")]
fn double<'a>(_: &mut Call<'_>, args: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
    match args {
        [Val::Double(n)] => Ok(Val::Double(*n)),
        [Val::Int(n)] => Ok(Val::Double(*n as f64)),
        [Val::Uint(n)] => Ok(Val::Double(*n as f64)),
        [Val::String(text)] => match text.parse() {
            Ok(n) => Ok(Val::Double(n)),
            Err(_) => fail(format!("strconv.ParseFloat: parsing {:?}: invalid syntax", &**text)),
        },
        _ => none(),
    }
}

/// A number as Go's `%g` with the shortest form prints it.
pub(super) fn print_double(n: f64) -> String {
    if n.is_nan() {
        return "NaN".to_owned();
    }
    if n.is_infinite() {
        return if n > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let magnitude = n.abs();
    if n != 0.0 && !(1e-4..1e21).contains(&magnitude) {
        let text = format!("{n:e}");
        let Some((digits, exponent)) = text.split_once('e') else { return text };
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(rest) => ('-', rest),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    n.to_string()
}

fn string<'a>(_: &mut Call<'_>, args: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
    let [value] = args else { return none() };
    Ok(Val::owned(match value {
        Val::String(_) => return Ok(value.clone()),
        Val::Bool(b) => b.to_string(),
        Val::Int(n) => n.to_string(),
        Val::Uint(n) => n.to_string(),
        Val::Double(n) => print_double(*n),
        Val::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => return fail("invalid UTF-8 in bytes, cannot convert to string"),
        },
        Val::Duration(nanos) => time::print_duration(*nanos),
        Val::Timestamp(time) => time.to_string(),
        Val::Opaque(value) => match value.text() {
            Some(text) => text,
            None => return none(),
        },
        _ => return none(),
    }))
}
