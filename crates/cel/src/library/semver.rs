//! Semantic versions (Kubernetes' library; semver.org 2.0.0).

use super::{fail, none};
use crate::error::EvalError;
use crate::opaque::Opaque;
use crate::signature::{Cost, Function, row};
use crate::value::Val;
use std::cmp::Ordering;
use std::fmt;

/// A version. Build metadata counts for nothing but its text.
#[derive(Clone, Debug)]
pub struct Semver {
    numbers: [u64; 3],
    pre: Vec<String>,
    build: String,
}

impl fmt::Display for Semver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(f, "{major}.{minor}.{patch}")?;
        if !self.pre.is_empty() {
            write!(f, "-{}", self.pre.join("."))?;
        }
        if self.build.is_empty() { Ok(()) } else { write!(f, "+{}", self.build) }
    }
}

impl Semver {
    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, true) => Ordering::Equal,
            // A version stands above what led to it.
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                let pairs = self.pre.iter().zip(&other.pre);
                let found = pairs.map(|(a, b)| identifiers(a, b)).find(|found| found.is_ne());
                found.unwrap_or_else(|| self.pre.len().cmp(&other.pre.len()))
            }
        })
    }
}

fn identifiers(a: &str, b: &str) -> Ordering {
    match (a.parse::<u64>(), b.parse::<u64>()) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        (Ok(_), Err(_)) => Ordering::Less,
        (Err(_), Ok(_)) => Ordering::Greater,
        (Err(_), Err(_)) => a.cmp(b),
    }
}

fn number(text: &str) -> Option<u64> {
    let canonical = text == "0" || !text.starts_with(['0', '+']);
    text.parse().ok().filter(|_| canonical)
}

fn parse(text: &str, lenient: bool) -> Option<Semver> {
    let text = if lenient { text.trim().trim_start_matches('v') } else { text };
    let (text, build) = text.split_once('+').unwrap_or((text, ""));
    let (text, pre) = match text.split_once('-') {
        Some((text, pre)) => (text, Some(pre)),
        None => (text, None),
    };
    let mut parts: Vec<String> = text.split('.').map(str::to_owned).collect();
    if lenient {
        for part in &mut parts {
            let digits = part.trim_start_matches('0');
            *part = if digits.is_empty() && !part.is_empty() { "0".to_owned() } else { digits.to_owned() };
        }
        parts.resize(parts.len().max(3), "0".to_owned());
    }
    let [major, minor, patch] = parts.as_slice() else { return None };
    let word = |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let pre: Vec<&str> = pre.map(|pre| pre.split('.').collect()).unwrap_or_default();
    let numeric = |word: &str| word.bytes().all(|b| b.is_ascii_digit());
    if !pre.iter().all(|one| word(one) && (!numeric(one) || number(one).is_some())) {
        return None;
    }
    if !build.is_empty() && !build.split('.').all(|one| word(&one)) {
        return None;
    }
    Some(Semver {
        numbers: [number(major)?, number(minor)?, number(patch)?],
        pre: pre.into_iter().map(str::to_owned).collect(),
        build: build.to_owned(),
    })
}

fn given(args: &[Val<'_>]) -> Option<Option<Semver>> {
    match args {
        [Val::String(text)] => Some(parse(text, false)),
        [Val::String(text), Val::Bool(lenient)] => Some(parse(text, *lenient)),
        _ => None,
    }
}

const ONE: Cost = Cost::Fixed(1);
const GETTER: &[&str] = &["semver.() -> int"];

pub(super) static TABLE: &[Function] =
    &[
        row("semver", &["(string) -> semver", "(string, bool) -> semver"], Cost::Text(0, 1), |_, args| {
            match given(args) {
                Some(Some(version)) => Ok(Val::opaque(Opaque::Semver(version))),
                Some(None) => fail("semver parse error: not a semantic version (major.minor.patch)"),
                None => none(),
            }
        }),
        row("isSemver", &["(string) -> bool", "(string, bool) -> bool"], Cost::Text(0, 1), |_, args| {
            given(args).map_or_else(none, |version| Ok(Val::Bool(version.is_some())))
        }),
        row("major", GETTER, ONE, |_, args| part(args, 0)),
        row("minor", GETTER, ONE, |_, args| part(args, 1)),
        row("patch", GETTER, ONE, |_, args| part(args, 2)),
    ];

fn part<'a>(args: &[Val<'a>], at: usize) -> Result<Val<'a>, EvalError> {
    let [Val::Opaque(value)] = args else { return none() };
    match &**value {
        Opaque::Semver(version) => Ok(Val::Int(i64::try_from(version.numbers[at]).unwrap_or(i64::MAX))),
        _ => none(),
    }
}
