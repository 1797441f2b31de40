//! Text: the standard methods, cel-go's extension of them, and regular expressions (Kubernetes' `find`, `findAll`).
//! Positions count code points.

use super::text_format::format;
use super::{fail, none};
use crate::error::EvalError;
use crate::signature::{Call, Cost, Function, row};
use crate::value::Val;

const TEXT: Cost = Cost::Text(0, 1);

pub(super) static TABLE: &[Function] = &[
    row("startsWith", &["string.(string) -> bool"], Cost::Text(1, 1), |_, args| match args {
        [Val::String(text), Val::String(start)] => Ok(Val::Bool(text.starts_with(&**start))),
        _ => none(),
    }),
    row("endsWith", &["string.(string) -> bool"], Cost::Text(1, 1), |_, args| match args {
        [Val::String(text), Val::String(end)] => Ok(Val::Bool(text.ends_with(&**end))),
        _ => none(),
    }),
    row("contains", &["string.(string) -> bool"], Cost::Search, |_, args| match args {
        [Val::String(text), Val::String(part)] => Ok(Val::Bool(text.contains(&**part))),
        _ => none(),
    }),
    row("matches", &["string.(string) -> bool", "(string, string) -> bool"], Cost::Regex, |call, args| {
        match args {
            [Val::String(text), Val::String(pattern)] => Ok(Val::Bool(call.pattern(pattern)?.is_match(text))),
            _ => none(),
        }
    }),
    row("find", &["string.(string) -> string"], Cost::Regex, |call, args| match args {
        [Val::String(text), Val::String(pattern)] => {
            let found = call.pattern(pattern)?.find(text).map(|found| found.as_str().to_owned());
            Ok(Val::owned(found.unwrap_or_default()))
        }
        _ => none(),
    }),
    row(
        "findAll",
        &["string.(string) -> list(string)", "string.(string, int) -> list(string)"],
        Cost::Regex,
        |call, args| match args {
            [Val::String(text), Val::String(pattern), rest @ ..] => {
                let limit = match rest {
                    [] => usize::MAX,
                    [Val::Int(n)] => usize::try_from(*n).unwrap_or(usize::MAX),
                    _ => return none(),
                };
                let pattern = call.pattern(pattern)?;
                let found = pattern.find_iter(text).take(limit);
                Ok(Val::list(found.map(|found| Val::owned(found.as_str())).collect()))
            }
            _ => none(),
        },
    ),
    row("charAt", &["string.(int) -> string"], TEXT, |_, args| match args {
        [Val::String(text), Val::Int(at)] => {
            let count = text.chars().count();
            match usize::try_from(*at) {
                Ok(at) if at <= count => {
                    Ok(Val::owned(text.chars().nth(at).map(String::from).unwrap_or_default()))
                }
                _ => fail(format!("index out of range: {at}")),
            }
        }
        _ => none(),
    }),
    row("lowerAscii", &["string.() -> string"], TEXT, |_, args| one(args, |text| text.to_ascii_lowercase())),
    row("upperAscii", &["string.() -> string"], TEXT, |_, args| one(args, |text| text.to_ascii_uppercase())),
    row("trim", &["string.() -> string"], TEXT, |_, args| one(args, |text| text.trim().to_owned())),
    row("strings.quote", &["(string) -> string"], TEXT, |_, args| one(args, quote)),
    row("replace", &["string.(string, string) -> string", "string.(string, string, int) -> string"], TEXT, {
        |call, args| match args {
            [Val::String(text), Val::String(from), Val::String(to), rest @ ..] => {
                let limit = match rest {
                    [] => usize::MAX,
                    [Val::Int(n)] => usize::try_from(*n).unwrap_or(usize::MAX),
                    _ => return none(),
                };
                let found = if from.is_empty() { text.len() + 1 } else { text.matches(&**from).count() };
                // The result may be longer than what was paid for.
                call.work(text.len().saturating_add(found.min(limit).saturating_mul(to.len())))?;
                Ok(Val::owned(text.replacen(&**from, to, limit)))
            }
            _ => none(),
        }
    }),
    row("split", &["string.(string) -> list(string)", "string.(string, int) -> list(string)"], TEXT, split),
    row("substring", &["string.(int) -> string", "string.(int, int) -> string"], TEXT, substring),
    row("join", &["list(string).() -> string", "list(string).(string) -> string"], Cost::Result(2), join),
    row("format", &["string.(list(dyn)) -> string"], TEXT, |call, args| match args {
        [Val::String(text), Val::List(values)] => format(call, text, values).map(Val::owned),
        _ => none(),
    }),
];

fn one<'a>(args: &[Val<'a>], change: impl Fn(&str) -> String) -> Result<Val<'a>, EvalError> {
    match args {
        [Val::String(text)] => Ok(Val::owned(change(text))),
        _ => none(),
    }
}

fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

fn split<'a>(_: &mut Call<'_>, args: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
    let [Val::String(text), Val::String(by), rest @ ..] = args else { return none() };
    let limit = match rest {
        [] => usize::MAX,
        [Val::Int(0)] => return Ok(Val::list(Vec::new())),
        [Val::Int(n)] => usize::try_from(*n).unwrap_or(usize::MAX),
        _ => return none(),
    };
    if by.is_empty() {
        // Between any two letters.
        let mut parts = Vec::new();
        let mut rest: &str = text;
        while let Some(letter) = rest.chars().next() {
            if parts.len() + 1 == limit {
                parts.push(Val::owned(rest));
                return Ok(Val::list(parts));
            }
            parts.push(Val::owned(&rest[..letter.len_utf8()]));
            rest = &rest[letter.len_utf8()..];
        }
        return Ok(Val::list(parts));
    }
    Ok(Val::list(text.splitn(limit, &**by).map(Val::owned).collect()))
}

fn substring<'a>(_: &mut Call<'_>, args: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
    let (text, start, end) = match args {
        [Val::String(text), Val::Int(start)] => (text, *start, None),
        [Val::String(text), Val::Int(start), Val::Int(end)] => (text, *start, Some(*end)),
        _ => return none(),
    };
    let count = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    let last = end.unwrap_or(count);
    for at in [start, last] {
        if !(0..=count).contains(&at) {
            return fail(format!("index out of range: {at}"));
        }
    }
    if last < start {
        return fail(format!("invalid substring range. start: {start}, end: {last}"));
    }
    let (start, length) = (usize::try_from(start), usize::try_from(last - start));
    let (Ok(start), Ok(length)) = (start, length) else { return none() };
    Ok(Val::owned(text.chars().skip(start).take(length).collect::<String>()))
}

fn join<'a>(call: &mut Call<'_>, args: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
    let (list, by) = match args {
        [Val::List(list)] => (list, ""),
        [Val::List(list), Val::String(by)] => (list, &**by),
        _ => return none(),
    };
    let mut out = String::new();
    for (at, item) in list.iter().enumerate() {
        let Val::String(text) = item else { return none() };
        call.work(text.len() + by.len() + 1)?;
        if at > 0 {
            out.push_str(by);
        }
        out.push_str(&text);
    }
    Ok(Val::owned(out))
}
