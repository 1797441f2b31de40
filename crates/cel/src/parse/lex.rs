//! From text to tokens (CEL specification, "Syntax").

use crate::error::Issue;

/// A token and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) at: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Ident(String),
    Int(u64),
    Uint(u64),
    Double(f64),
    String(String),
    Bytes(Vec<u8>),
    /// Operators and punctuation.
    Punct(&'static str),
    End,
}

/// Longest first.
const PUNCTUATION: &[&str] = &[
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", ".", ",", "(", ")",
    "[", "]", "{", "}",
];

fn issue(at: usize, message: impl Into<String>) -> Issue {
    Issue { at, message: format!("Syntax error: {}", message.into()) }
}

/// All tokens of a text, [`Kind::End`] last.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Issue> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(next) = text[at..].chars().next() {
        if next.is_ascii_whitespace() {
            at += 1;
            continue;
        }
        if text[at..].starts_with("//") {
            at += text[at..].find('\n').unwrap_or(text.len() - at);
            continue;
        }
        let (kind, length) = token(text, at, next)?;
        found.push(Token { kind, at });
        at += length;
    }
    found.push(Token { kind: Kind::End, at });
    Ok(found)
}

fn token(text: &str, at: usize, next: char) -> Result<(Kind, usize), Issue> {
    let rest = &text[at..];
    if let Some(prefix) = string_prefix(rest) {
        return string(rest, prefix, at);
    }
    if next.is_ascii_digit() || (next == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit())) {
        return number(rest, at);
    }
    if next.is_ascii_alphabetic() || next == '_' {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        return Ok((Kind::Ident(rest[..end].to_owned()), end));
    }
    match PUNCTUATION.iter().find(|known| rest.starts_with(**known)) {
        Some(known) => Ok((Kind::Punct(known), known.len())),
        None => Err(issue(at, format!("token recognition error at: '{next}'"))),
    }
}

#[derive(Clone, Copy)]
struct Prefix {
    raw: bool,
    bytes: bool,
    length: usize,
}

fn string_prefix(rest: &str) -> Option<Prefix> {
    // Nothing but the first three letters is looked at: this is asked for each token.
    let quote = rest.bytes().take(3).position(|b| matches!(b, b'"' | b'\''))?;
    let (mut raw, mut bytes) = (false, false);
    for letter in rest.get(..quote)?.chars() {
        match letter {
            'r' | 'R' if !raw => raw = true,
            'b' | 'B' if !bytes => bytes = true,
            _ => return None,
        }
    }
    Some(Prefix { raw, bytes, length: quote })
}

fn string(rest: &str, prefix: Prefix, at: usize) -> Result<(Kind, usize), Issue> {
    let body = &rest[prefix.length..];
    let quote = &body[..1];
    let triple = body.starts_with(&quote.repeat(3));
    let fence = if triple { quote.repeat(3) } else { quote.to_owned() };
    let mut end = fence.len();
    loop {
        let left = &body[end..];
        if left.starts_with(&fence) {
            break;
        }
        match left.chars().next() {
            None => return Err(issue(at, "token recognition error: the string has no end")),
            Some('\n' | '\r') if !triple => {
                return Err(issue(at, "token recognition error: the string has no end on its line"));
            }
            Some('\\') if !prefix.raw => end += 1 + left[1..].chars().next().map_or(0, char::len_utf8),
            Some(other) => end += other.len_utf8(),
        }
    }
    let inner = &body[fence.len()..end];
    let length = prefix.length + end + fence.len();
    let bytes = if prefix.raw { inner.as_bytes().to_vec() } else { unescape(inner, prefix.bytes, at)? };
    let kind = if prefix.bytes {
        Kind::Bytes(bytes)
    } else {
        Kind::String(String::from_utf8(bytes).map_err(|_| issue(at, "the string is not UTF-8"))?)
    };
    Ok((kind, length))
}

fn unescape(inner: &str, octets: bool, at: usize) -> Result<Vec<u8>, Issue> {
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    let bad = || issue(at, "unable to unescape string");
    while let Some(next) = rest.chars().next() {
        if next != '\\' {
            let mut buffer = [0; 4];
            out.extend_from_slice(next.encode_utf8(&mut buffer).as_bytes());
            rest = &rest[next.len_utf8()..];
            continue;
        }
        let letter = rest[1..].chars().next().ok_or_else(bad)?;
        let plain = match letter {
            'a' => Some(7),
            'b' => Some(8),
            'f' => Some(12),
            'n' => Some(b'\n'),
            'r' => Some(b'\r'),
            't' => Some(b'\t'),
            'v' => Some(11),
            '\\' | '\'' | '"' | '`' | '?' => u8::try_from(letter).ok(),
            _ => None,
        };
        if let Some(plain) = plain {
            out.push(plain);
            rest = &rest[2..];
            continue;
        }
        let (start, digits, radix) = match letter {
            'x' | 'X' => (2, 2, 16),
            'u' if !octets => (2, 4, 16),
            'U' if !octets => (2, 8, 16),
            '0'..='3' => (1, 3, 8),
            _ => return Err(bad()),
        };
        let digits = rest.get(start..start + digits).ok_or_else(bad)?;
        let code = u32::from_str_radix(digits, radix).map_err(|_| bad())?;
        if octets {
            out.push(u8::try_from(code).map_err(|_| bad())?);
        } else {
            let mut buffer = [0; 4];
            let code = char::from_u32(code).ok_or_else(bad)?;
            out.extend_from_slice(code.encode_utf8(&mut buffer).as_bytes());
        }
        rest = &rest[start + digits.len()..];
    }
    Ok(out)
}

fn number(rest: &str, at: usize) -> Result<(Kind, usize), Issue> {
    let hex = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X"));
    if let Some(hex) = hex {
        let end = hex.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(hex.len());
        let value = u64::from_str_radix(&hex[..end], 16).map_err(|_| issue(at, "invalid int literal"))?;
        return Ok(suffixed(value, hex, end, 2));
    }
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let mut end = digits(rest);
    let mut double = false;
    if rest[end..].starts_with('.') && rest[end + 1..].starts_with(|c: char| c.is_ascii_digit()) {
        end += 1 + digits(&rest[end + 1..]);
        double = true;
    }
    if rest[end..].starts_with(['e', 'E']) {
        let exponent = &rest[end + 1..];
        let sign = usize::from(exponent.starts_with(['+', '-']));
        let length = digits(&exponent[sign..]);
        if length > 0 {
            end += 1 + sign + length;
            double = true;
        }
    }
    if double {
        let value = rest[..end].parse().map_err(|_| issue(at, "invalid double literal"))?;
        return Ok((Kind::Double(value), end));
    }
    let value = rest[..end].parse().map_err(|_| issue(at, "invalid int literal"))?;
    Ok(suffixed(value, rest, end, 0))
}

fn suffixed(value: u64, rest: &str, end: usize, before: usize) -> (Kind, usize) {
    if rest[end..].starts_with(['u', 'U']) {
        (Kind::Uint(value), before + end + 1)
    } else {
        (Kind::Int(value), before + end)
    }
}
