//! Trees to YAML, byte for byte as kubectl and the API server print it: block style, lists at their key's level, strings
//! plain where nothing could take them for something else, in single quotes where only punctuation forbids that, and in
//! double quotes where an older reader would see a number, a boolean or a time.
//!
//! Deliberately absent: folding of long lines.

use serde_json::Value;

/// How a string is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Plain,
    Single,
    Double,
    Literal,
}

/// Prints a tree; keys in the tree's own order.
pub(super) fn document(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => node(value, 0, false, &mut out),
        Value::Array(items) if !items.is_empty() => node(value, 0, false, &mut out),
        scalar => {
            inline(scalar, 0, &mut out);
        }
    }
    out
}

fn pad(level: usize, out: &mut String) {
    out.extend(std::iter::repeat_n("  ", level));
}

/// A map or list that is not empty. `started` says that its first line is already indented (after a dash).
fn node(value: &Value, level: usize, started: bool, out: &mut String) {
    let mut first = started;
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if !std::mem::take(&mut first) {
                    pad(level, out);
                }
                text(key, level, true, out);
                out.push(':');
                match value {
                    Value::Object(inner) if !inner.is_empty() => {
                        out.push('\n');
                        node(value, level + 1, false, out);
                    }
                    Value::Array(inner) if !inner.is_empty() => {
                        out.push('\n');
                        node(value, level, false, out);
                    }
                    scalar => {
                        out.push(' ');
                        inline(scalar, level, out);
                    }
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                if !std::mem::take(&mut first) {
                    pad(level, out);
                }
                out.push_str("- ");
                match item {
                    Value::Object(inner) if !inner.is_empty() => node(item, level + 1, true, out),
                    Value::Array(inner) if !inner.is_empty() => node(item, level + 1, true, out),
                    scalar => inline(scalar, level, out),
                }
            }
        }
        scalar => inline(scalar, level, out),
    }
}

/// A scalar or empty collection, and the end of its line.
fn inline(value: &Value, level: usize, out: &mut String) {
    match value {
        Value::String(string) => {
            text(string, level, false, out);
            if !out.ends_with('\n') || string.is_empty() {
                out.push('\n');
            }
        }
        Value::Object(_) => out.push_str("{}\n"),
        Value::Array(_) => out.push_str("[]\n"),
        other => {
            out.push_str(&other.to_string());
            out.push('\n');
        }
    }
}

fn text(string: &str, level: usize, key: bool, out: &mut String) {
    match style(string, key) {
        Style::Plain => out.push_str(string),
        Style::Single => {
            out.push('\'');
            out.push_str(&string.replace('\'', "''"));
            out.push('\'');
        }
        Style::Double => double(string, out),
        Style::Literal => literal(string, level, out),
    }
}

fn literal(string: &str, level: usize, out: &mut String) {
    out.push('|');
    if string.starts_with([' ', '\n']) {
        out.push('2');
    }
    if !string.ends_with('\n') {
        out.push('-');
    } else if string == "\n" || string.ends_with("\n\n") {
        out.push('+');
    }
    out.push('\n');
    for line in string.strip_suffix('\n').unwrap_or(string).split('\n') {
        if !line.is_empty() {
            pad(level + 1, out);
            out.push_str(line);
        }
        out.push('\n');
    }
}

fn double(string: &str, out: &mut String) {
    out.push('"');
    for character in string.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\0' => out.push_str("\\0"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '\u{1b}' => out.push_str("\\e"),
            '\u{85}' => out.push_str("\\N"),
            '\u{a0}' => out.push_str("\\_"),
            '\u{2028}' => out.push_str("\\L"),
            '\u{2029}' => out.push_str("\\P"),
            other if is_printable(other) => out.push(other),
            other if u32::from(other) <= 0xff => out.push_str(&format!("\\x{:02X}", u32::from(other))),
            other if u32::from(other) <= 0xffff => out.push_str(&format!("\\u{:04X}", u32::from(other))),
            other => out.push_str(&format!("\\U{:08X}", u32::from(other))),
        }
    }
    out.push('"');
}

fn is_printable(character: char) -> bool {
    matches!(character, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}')
        || matches!(character, '\u{10000}'..='\u{10ffff}')
}

fn style(string: &str, key: bool) -> Style {
    if string.is_empty() || is_something_else(string) {
        return Style::Double;
    }
    let printable = string
        .chars()
        .all(|character| is_printable(character) && !matches!(character, '\u{85}' | '\u{2028}' | '\u{2029}'));
    if !printable {
        return Style::Double;
    }
    if string.contains('\n') {
        let awkward = string.contains(" \n") || string.ends_with(' ');
        return if awkward || key { Style::Double } else { Style::Literal };
    }
    if string.starts_with(' ') || string.ends_with(' ') || has_indicators(string) {
        Style::Single
    } else {
        Style::Plain
    }
}

/// Whether punctuation would end or change a plain scalar in block context.
fn has_indicators(string: &str) -> bool {
    if string.starts_with("---") || string.starts_with("...") {
        return true;
    }
    let blank = |character: Option<char>| character.is_none_or(|character| character == ' ');
    let mut before = None;
    let mut characters = string.chars().peekable();
    while let Some(character) = characters.next() {
        let next = characters.peek().copied();
        let wrong = match (before, character) {
            (
                None,
                '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@'
                | '`',
            ) => true,
            (None, '?' | '-') | (_, ':') => blank(next),
            (Some(' '), '#') => true,
            _ => false,
        };
        if wrong {
            return true;
        }
        before = Some(character);
    }
    false
}

const WORDS: &[&str] = &[
    "~", "null", "Null", "NULL", "y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "n", "N", "no", "No", "NO",
    "off", "Off", "OFF", "true", "True", "TRUE", "false", "False", "FALSE", ".nan", ".NaN", ".NAN", ".inf",
    ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF", "<<",
];

/// Whether a YAML 1.1 reader would take a plain string for a null, boolean, number or time.
fn is_something_else(string: &str) -> bool {
    if WORDS.contains(&string) {
        return true;
    }
    if !string.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first)) {
        return false;
    }
    is_integer(string) || is_float(&string.replace('_', "")) || is_base_60(string) || is_time(string)
}

fn is_integer(string: &str) -> bool {
    let digits = string.strip_prefix(['+', '-']).unwrap_or(string).replace('_', "");
    let radix =
        |prefix: [&str; 2]| prefix.iter().find_map(|prefix| digits.strip_prefix(prefix).map(str::to_owned));
    let all =
        |digits: &str, radix: u32| !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
    if let Some(rest) = radix(["0x", "0X"]) {
        return all(&rest, 16);
    }
    if let Some(rest) = radix(["0b", "0B"]) {
        return all(&rest, 2);
    }
    if let Some(rest) = radix(["0o", "0O"]) {
        return all(&rest, 8);
    }
    all(&digits, 10)
}

/// An optional sign, digits with at most one point, and an optional exponent.
fn is_float(string: &str) -> bool {
    let unsigned = string.strip_prefix(['+', '-']).unwrap_or(string);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let whole = match mantissa.split_once('.') {
        Some((before, after)) => digits(before) && digits(after) && mantissa.len() > 1,
        None => !mantissa.is_empty() && digits(mantissa),
    };
    let power = exponent.is_none_or(|text| {
        let text = text.strip_prefix(['+', '-']).unwrap_or(text);
        !text.is_empty() && digits(text)
    });
    whole && power
}

/// `1:30`, which YAML 1.1 reads as ninety.
fn is_base_60(string: &str) -> bool {
    let unsigned = string.strip_prefix(['+', '-']).unwrap_or(string);
    let mut parts = unsigned.split(':');
    let first = parts.next().unwrap_or_default();
    if !first.starts_with(|digit: char| digit.is_ascii_digit())
        || !first.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_')
    {
        return false;
    }
    let rest: Vec<&str> = parts.collect();
    let last = rest.len().saturating_sub(1);
    !rest.is_empty()
        && rest.iter().enumerate().all(|(at, part)| {
            let part = if at == last { part.split('.').next().unwrap_or_default() } else { part };
            (1..=2).contains(&part.len()) && part.parse::<u8>().is_ok_and(|number| number < 60)
        })
}

/// `2026-11-20`, alone or with a time of day after it.
fn is_time(string: &str) -> bool {
    let (date, time) = match string.find(['T', 't', ' ']) {
        Some(at) => (&string[..at], Some(&string[at + 1..])),
        None => (string, None),
    };
    let parts: Vec<&str> = date.split('-').collect();
    let short = |text: &str| (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let [year, month, day] = parts.as_slice() else { return false };
    let is_date =
        year.len() == 4 && year.bytes().all(|byte| byte.is_ascii_digit()) && short(month) && short(day);
    is_date
        && time.is_none_or(|time| {
            time.matches(':').count() >= 2 && time.starts_with(|digit: char| digit.is_ascii_digit())
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn strings_are_quoted_as_upstream_does() {
        let rows = [
            ("web", "web"),
            ("", "\"\""),
            ("yes", "\"yes\""),
            ("y", "\"y\""),
            ("012", "\"012\""),
            ("1.5", "\"1.5\""),
            ("1e3", "\"1e3\""),
            ("10.96.0.1", "10.96.0.1"),
            ("1:30", "\"1:30\""),
            ("25%", "25%"),
            ("64Mi", "64Mi"),
            ("2026-11-20T14:00:00Z", "\"2026-11-20T14:00:00Z\""),
            (" leading", "' leading'"),
            ("it's", "it's"),
            ("- a", "'- a'"),
            ("-a", "-a"),
            ("a: b", "'a: b'"),
            ("a:b", "a:b"),
            ("a #b", "'a #b'"),
            ("{}", "'{}'"),
            ("*", "'*'"),
            ("@x", "'@x'"),
            ("tab\there", "\"tab\\there\""),
            ("ümlaut", "ümlaut"),
            ("null", "\"null\""),
            ("0x1f", "\"0x1f\""),
            ("<a & b>", "<a & b>"),
        ];
        for (string, expected) in rows {
            assert_eq!(document(&json!({"k": string})), format!("k: {expected}\n"), "{string:?}");
        }
    }

    #[test]
    fn blocks() {
        let value = json!({"a": "two\nlines\n", "b": [{"c": 1, "d": [[1, "x"], []]}, "s"], "e": {}, "f": "no\nend", "g": "end\n\n"});
        assert_eq!(
            document(&value),
            "a: |\n  two\n  lines\nb:\n- c: 1\n  d:\n  - - 1\n    - x\n  - []\n- s\ne: {}\nf: |-\n  no\n  end\ng: |+\n  end\n\n"
        );
    }
}
