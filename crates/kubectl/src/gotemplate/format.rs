//! Values as Go prints them (`fmt`).

use super::exec::Val;
use serde_json::Value;
use std::borrow::Cow;

/// What an action prints.
pub(super) fn printed(value: &Val<'_>) -> String {
    match value.as_deref() {
        None | Some(Value::Null) => "<no value>".to_owned(),
        Some(value) => display(value),
    }
}

/// `%v`.
pub(super) fn display(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(set) => set.to_string(),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => whole.to_string(),
            None => number
                .as_u64()
                .map_or_else(|| general(number.as_f64().unwrap_or(0.0)), |whole| whole.to_string()),
        },
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(display).collect::<Vec<_>>().join(" ")),
        Value::Object(_) => map(value, display),
    }
}

fn map(value: &Value, show: impl Fn(&Value) -> String) -> String {
    let mut entries: Vec<(&String, &Value)> = value.as_object().into_iter().flatten().collect();
    entries.sort_by_key(|(key, _)| *key);
    let shown: Vec<String> = entries
        .into_iter()
        .map(|(key, item)| format!("{}:{}", show(&key.clone().into()), show(item)))
        .collect();
    format!("map[{}]", shown.join(" "))
}

/// `%g` with as many digits as are needed: with an exponent below -4 and from 6 on.
fn general(value: f64) -> String {
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..6).contains(&exponent) { scientific(mantissa, exponent) } else { format!("{value}") }
}

fn scientific(mantissa: &str, exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// The Go type of a value. Numbers of the tree are `int64`, those of the template `int`.
#[allow(clippy::ptr_arg, reason = "whether it is borrowed says where it comes from")]
pub(super) fn type_name(value: &Cow<'_, Value>) -> &'static str {
    match value.as_ref() {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) if matches!(value, Cow::Borrowed(_)) => "int64",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// `Sprint`: spaces between operands neither of which is a string.
pub(super) fn print(values: &[Val<'_>]) -> String {
    let mut out = String::new();
    for (at, value) in values.iter().enumerate() {
        let is_text = |value: &Val<'_>| value.as_deref().is_some_and(Value::is_string);
        if at > 0 && !is_text(value) && !is_text(&values[at - 1]) {
            out.push(' ');
        }
        out.push_str(&value.as_deref().map_or_else(|| "<nil>".to_owned(), display));
    }
    out
}

/// A directive of `Sprintf`.
#[derive(Default)]
struct Directive {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Widest field and longest fraction.
const MAX_WIDTH: usize = 1_000_000;

/// `Sprintf`.
pub(super) fn printf(format: &str, arguments: &[Val<'_>]) -> String {
    let mut out = String::new();
    let mut used = 0;
    let mut rest = format.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut directive = Directive::default();
        while let Some(flag) = rest.next_if(|c| "-+# 0".contains(*c)) {
            match flag {
                '-' => directive.minus = true,
                '+' => directive.plus = true,
                '#' => directive.sharp = true,
                ' ' => directive.space = true,
                _ => directive.zero = true,
            }
        }
        let mut number = |rest: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            if rest.next_if_eq(&'*').is_some() {
                let value = arguments.get(used).and_then(|value| value.as_deref()?.as_u64());
                used += 1;
                return value.and_then(|value| usize::try_from(value).ok());
            }
            let mut digits = String::new();
            while let Some(digit) = rest.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            digits.parse().ok()
        };
        directive.width = number(&mut rest).map(|width: usize| width.min(MAX_WIDTH));
        if rest.next_if_eq(&'.').is_some() {
            directive.precision = Some(number(&mut rest).unwrap_or(0).min(MAX_WIDTH));
        }
        let Some(verb) = rest.next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        if verb == '%' {
            out.push('%');
            continue;
        }
        let Some(argument) = arguments.get(used) else {
            out.push_str(&format!("%!{verb}(MISSING)"));
            continue;
        };
        used += 1;
        let shown = match argument {
            Some(value) => directive.show(verb, value),
            None if verb == 'v' => "<nil>".to_owned(),
            None => format!("%!{verb}(<nil>)"),
        };
        out.push_str(&directive.pad(shown, verb));
    }
    if used < arguments.len() {
        let extra: Vec<String> = arguments[used..]
            .iter()
            .map(|value| {
                value.as_ref().map_or_else(
                    || "<nil>".to_owned(),
                    |value| format!("{}={}", type_name(value), display(value)),
                )
            })
            .collect();
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

impl Directive {
    fn pad(&self, text: String, verb: char) -> String {
        let width = self.width.unwrap_or(0);
        let missing = width.saturating_sub(text.chars().count());
        if missing == 0 {
            return text;
        }
        if self.minus {
            return text + &" ".repeat(missing);
        }
        if self.zero && "dxXobeEfFgG".contains(verb) {
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['-', '+'])));
            return format!("{sign}{}{digits}", "0".repeat(missing));
        }
        " ".repeat(missing) + &text
    }

    #[allow(clippy::ptr_arg, reason = "whether it is borrowed says where it comes from")]
    fn show(&self, verb: char, value: &Cow<'_, Value>) -> String {
        if verb == 'T' {
            return type_name(value).to_owned();
        }
        if verb == 'v' {
            return display(value);
        }
        let each = |item: &Value| match value {
            Cow::Borrowed(_) => self.show_part(verb, item, true),
            Cow::Owned(_) => self.show_part(verb, item, false),
        };
        each(value)
    }

    fn show_part(&self, verb: char, value: &Value, of_tree: bool) -> String {
        let shown = match value {
            Value::Array(items) => {
                let all: Vec<String> = items.iter().map(|item| self.show_part(verb, item, of_tree)).collect();
                return format!("[{}]", all.join(" "));
            }
            Value::Object(_) => return map(value, |part| self.show_part(verb, part, of_tree)),
            Value::Bool(set) => (verb == 't').then(|| set.to_string()),
            Value::String(text) => self.text(verb, text),
            Value::Number(number) if number.is_f64() => self.float(verb, number.as_f64().unwrap_or(0.0)),
            Value::Number(number) => self.whole(verb, number.as_i64().unwrap_or(0)),
            Value::Null => None,
        };
        shown.unwrap_or_else(|| {
            let borrowed = if of_tree { Cow::Borrowed(value) } else { Cow::Owned(value.clone()) };
            format!("%!{verb}({}={})", type_name(&borrowed), display(value))
        })
    }

    fn text(&self, verb: char, text: &str) -> Option<String> {
        let cut: String = text.chars().take(self.precision.unwrap_or(usize::MAX)).collect();
        Some(match verb {
            's' => cut,
            'q' => format!("{cut:?}"),
            'x' => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
            'X' => text.bytes().map(|byte| format!("{byte:02X}")).collect(),
            _ => return None,
        })
    }

    fn signed(&self, negative: bool, digits: &str) -> String {
        let sign = match (negative, self.plus, self.space) {
            (true, ..) => "-",
            (_, true, _) => "+",
            (_, _, true) => " ",
            _ => "",
        };
        format!("{sign}{digits}")
    }

    fn whole(&self, verb: char, value: i64) -> Option<String> {
        let size = value.unsigned_abs();
        let prefix = |text: &'static str| if self.sharp { text } else { "" };
        let digits = match verb {
            'd' => size.to_string(),
            'x' => format!("{}{size:x}", prefix("0x")),
            'X' => format!("{}{size:X}", prefix("0X")),
            'o' => format!("{}{size:o}", prefix("0")),
            'b' => format!("{size:b}"),
            'c' => return u32::try_from(value).ok().and_then(char::from_u32).map(String::from),
            'q' => return u32::try_from(value).ok().and_then(char::from_u32).map(|c| format!("{c:?}")),
            'U' => format!("U+{size:04X}"),
            _ => return None,
        };
        Some(self.signed(value < 0, &digits))
    }

    fn float(&self, verb: char, value: f64) -> Option<String> {
        let size = value.abs();
        let precision = self.precision.unwrap_or(6);
        let digits = match verb {
            'f' | 'F' => format!("{size:.precision$}"),
            'e' | 'E' => {
                let text = format!("{size:.precision$e}");
                let (mantissa, exponent) = text.split_once('e')?;
                let shown = scientific(mantissa, exponent.parse().ok()?);
                if verb == 'E' { shown.to_uppercase() } else { shown }
            }
            'g' | 'G' => general(size),
            _ => return None,
        };
        Some(self.signed(value < 0.0, &digits))
    }
}
