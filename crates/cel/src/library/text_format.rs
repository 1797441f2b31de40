//! `string.format(list)`: cel-go's verbs `%s %d %f %e %b %x %X %o`.

use crate::error::EvalError;
use crate::library::convert_double;
use crate::signature::Call;
use crate::time;
use crate::value::{List, Val};

/// Digits behind the point that may be asked for.
const MAX_PRECISION: usize = 100;

pub(super) fn format(call: &mut Call<'_>, text: &str, values: &List<'_>) -> Result<String, EvalError> {
    let mut out = String::new();
    let mut next = 0;
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let mut precision = None;
        if let Some(digits) = rest.strip_prefix('.') {
            let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
            let number = digits[..end].parse::<usize>().ok().filter(|number| *number <= MAX_PRECISION);
            precision = Some(number.ok_or_else(|| bad("error while parsing precision"))?);
            rest = &digits[end..];
        }
        let verb = rest.chars().next().ok_or_else(|| bad("unexpected end of string"))?;
        rest = &rest[verb.len_utf8()..];
        let value = values.get(next).ok_or_else(|| EvalError::new(format!("index {next} out of range")))?;
        next += 1;
        let shown = clause(call, verb, precision, &value)?;
        call.work(shown.len())?;
        out.push_str(&shown);
    }
    out.push_str(rest);
    Ok(out)
}

fn bad(why: &str) -> EvalError {
    EvalError::new(format!("could not parse formatting clause: {why}"))
}

fn clause(
    call: &mut Call<'_>,
    verb: char,
    precision: Option<usize>,
    value: &Val<'_>,
) -> Result<String, EvalError> {
    let wrong = || {
        let kind = value.type_name();
        EvalError::new(format!("error during formatting: no formatting function for %{verb} and type {kind}"))
    };
    Ok(match (verb, value) {
        ('s', value) => shown(call, value, false)?,
        ('d', Val::Int(n)) => n.to_string(),
        ('d', Val::Uint(n)) => n.to_string(),
        ('f', Val::Double(n)) => format!("{n:.*}", precision.unwrap_or(6)),
        ('e', Val::Double(n)) => {
            let text = format!("{n:.*e}", precision.unwrap_or(6));
            match text.split_once('e') {
                Some((digits, exponent)) => {
                    let (sign, exponent) = match exponent.strip_prefix('-') {
                        Some(rest) => ('-', rest),
                        None => ('+', exponent),
                    };
                    format!("{digits}e{sign}{exponent:0>2}")
                }
                None => text,
            }
        }
        ('b', Val::Int(n)) => signed(*n, |n| format!("{n:b}")),
        ('b', Val::Uint(n)) => format!("{n:b}"),
        ('b', Val::Bool(b)) => u8::from(*b).to_string(),
        ('o', Val::Int(n)) => signed(*n, |n| format!("{n:o}")),
        ('o', Val::Uint(n)) => format!("{n:o}"),
        ('x', Val::Int(n)) => signed(*n, |n| format!("{n:x}")),
        ('X', Val::Int(n)) => signed(*n, |n| format!("{n:X}")),
        ('x', Val::Uint(n)) => format!("{n:x}"),
        ('X', Val::Uint(n)) => format!("{n:X}"),
        ('x' | 'X', Val::String(text)) => hex(text.as_bytes(), verb),
        ('x' | 'X', Val::Bytes(bytes)) => hex(bytes, verb),
        ('d' | 'f' | 'e' | 'b' | 'o' | 'x' | 'X', _) => return Err(wrong()),
        (other, _) => return Err(bad(&format!("unrecognized formatting clause \"{other}\""))),
    })
}

fn signed(n: i64, print: impl Fn(u64) -> String) -> String {
    let sign = if n < 0 { "-" } else { "" };
    format!("{sign}{}", print(n.unsigned_abs()))
}

fn hex(bytes: &[u8], verb: char) -> String {
    let print = |byte: &u8| if verb == 'x' { format!("{byte:02x}") } else { format!("{byte:02X}") };
    bytes.iter().map(print).collect()
}

fn shown(call: &mut Call<'_>, value: &Val<'_>, inner: bool) -> Result<String, EvalError> {
    call.work(1)?;
    Ok(match value {
        Val::String(text) if inner => format!("{:?}", &**text),
        Val::String(text) => text.to_string(),
        Val::Bool(b) => b.to_string(),
        Val::Int(n) => n.to_string(),
        Val::Uint(n) => n.to_string(),
        Val::Double(n) => convert_double(*n),
        Val::Null => "null".to_owned(),
        Val::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Val::Duration(nanos) => time::print_duration(*nanos),
        Val::Timestamp(time) => time.to_string(),
        Val::Type(name) => name.to_string(),
        Val::List(list) => {
            let mut parts = Vec::with_capacity(list.len());
            for item in list.iter() {
                parts.push(shown(call, &item, false)?);
            }
            format!("[{}]", parts.join(", "))
        }
        Val::Map(map) => {
            let mut parts = Vec::with_capacity(map.len());
            for (key, value) in map.entries() {
                parts.push(format!("{}: {}", shown(call, &key, false)?, shown(call, &value, false)?));
            }
            parts.sort();
            format!("{{{}}}", parts.join(", "))
        }
        Val::Optional(_) | Val::Opaque(_) => {
            let kind = value.type_name();
            let message = format!(
                "error during formatting: string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps, was given {kind}"
            );
            return Err(EvalError::new(message));
        }
    })
}
