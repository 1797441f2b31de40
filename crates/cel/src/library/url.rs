//! URLs (Kubernetes' library): absolute URLs, and absolute paths, as Go's `url.ParseRequestURI` takes them.

use super::{fail, none};
use crate::error::EvalError;
use crate::signature::{Cost, Function, row};
use crate::value::{Key, Text, Val};
use std::collections::BTreeMap;

/// A parsed URL.
#[derive(Clone, Debug)]
pub struct Url {
    text: String,
    scheme: String,
    host: String,
    path: String,
    query: String,
}

impl Url {
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Hostname without port and brackets, and the port.
    fn split_host(&self) -> (&str, &str) {
        let (host, port) = match self.host.rfind(':') {
            Some(at) if !self.host[at..].contains(']') => (&self.host[..at], &self.host[at + 1..]),
            _ => (self.host.as_str(), ""),
        };
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        (inner.unwrap_or(host), port)
    }
}

fn unescape(text: &str, plus: bool) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let pair = [bytes.next()?, bytes.next()?];
                let digits = std::str::from_utf8(&pair).ok()?;
                if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return None;
                }
                out.push(u8::from_str_radix(digits, 16).ok()?);
            }
            b'+' if plus => out.push(b' '),
            other => out.push(other),
        }
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

fn escape_path(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@!'()*".contains(&byte);
        if plain {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn parse(text: &str) -> Result<Url, String> {
    let bad = |why: &str| format!("URL parse error during conversion from string: parse {text:?}: {why}");
    if text.is_empty() {
        return Err(bad("empty url"));
    }
    if text.chars().any(|c| c.is_control()) {
        return Err(bad("net/url: invalid control character in URL"));
    }
    let (scheme, rest) = match text.split_once(':') {
        Some((scheme, rest))
            if scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)) =>
        {
            (scheme.to_ascii_lowercase(), rest)
        }
        _ if text.starts_with('/') => (String::new(), text),
        Some(("", _)) => return Err(bad("missing protocol scheme")),
        _ => return Err(bad("invalid URI for request")),
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !rest.starts_with('/') {
        return Err(bad("invalid URI for request"));
    }
    let (host, path) =
        match rest.strip_prefix("//").filter(|_| !scheme.is_empty() || !rest.starts_with("///")) {
            Some(rest) => {
                let end = rest.find('/').unwrap_or(rest.len());
                let authority = &rest[..end];
                let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
                (host, &rest[end..])
            }
            None => ("", rest),
        };
    let port = host.rfind(':').filter(|at| !host[*at..].contains(']')).map(|at| &host[at + 1..]);
    if port.is_some_and(|port| !port.bytes().all(|b| b.is_ascii_digit())) {
        return Err(bad(&format!("invalid port {:?} after host", format!(":{}", port.unwrap_or_default()))));
    }
    if host.contains([' ', '<', '>', '"']) || (host.starts_with('[') && !host.contains(']')) {
        return Err(bad("invalid character in host name"));
    }
    let path = unescape(path, false).ok_or_else(|| bad("invalid URL escape"))?;
    Ok(Url { text: text.to_owned(), scheme, host: host.to_owned(), path, query: query.to_owned() })
}

const ONE: Cost = Cost::Fixed(1);
const GETTER: &[&str] = &["url.() -> string"];

pub(super) static TABLE: &[Function] = &[
    row("url", &["(string) -> url"], Cost::Text(0, 1), |_, args| match args {
        [Val::String(text)] => match parse(text) {
            Ok(url) => Ok(Val::opaque(crate::opaque::Opaque::Url(url))),
            Err(why) => fail(why),
        },
        _ => none(),
    }),
    row("isURL", &["(string) -> bool"], Cost::Text(0, 1), |_, args| match args {
        [Val::String(text)] => Ok(Val::Bool(parse(text).is_ok())),
        _ => none(),
    }),
    row("getScheme", GETTER, ONE, |_, args| get(args, |url| url.scheme.clone())),
    row("getHost", GETTER, ONE, |_, args| get(args, |url| url.host.clone())),
    row("getHostname", GETTER, ONE, |_, args| get(args, |url| url.split_host().0.to_owned())),
    row("getPort", GETTER, ONE, |_, args| get(args, |url| url.split_host().1.to_owned())),
    row("getEscapedPath", GETTER, ONE, |_, args| get(args, |url| escape_path(&url.path))),
    row("getQuery", &["url.() -> map(string, list(string))"], ONE, |_, args| {
        let [Val::Opaque(value)] = args else { return none() };
        let crate::opaque::Opaque::Url(url) = &**value else { return none() };
        let mut found: BTreeMap<String, Vec<Val<'_>>> = BTreeMap::new();
        for pair in url.query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if let (Some(key), Some(value)) = (unescape(key, true), unescape(value, true)) {
                found.entry(key).or_default().push(Val::owned(value));
            }
        }
        let entries = found.into_iter();
        Ok(Val::map(entries.map(|(k, v)| (Key::String(Text::Shared(k.into())), Val::list(v))).collect()))
    }),
];

fn get<'a>(args: &[Val<'a>], take: fn(&Url) -> String) -> Result<Val<'a>, EvalError> {
    let [Val::Opaque(value)] = args else { return none() };
    match &**value {
        crate::opaque::Opaque::Url(url) => Ok(Val::owned(take(url))),
        _ => none(),
    }
}
