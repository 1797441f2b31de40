//! Field selectors: `metadata.name=a,status.phase!=Running` (Kubernetes documentation, "Field Selectors").
//!
//! Deliberately absent: which fields a resource supports; the caller checks [`Selector::terms`] against it.

use std::fmt;

/// One condition: a field is, or is not, equal to a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Term {
    /// Path such as `spec.nodeName`.
    pub field: String,
    /// The value, without escapes.
    pub value: String,
    /// Whether the field must differ.
    pub negated: bool,
}

/// Terms that must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selector {
    terms: Vec<Term>,
}

impl Selector {
    /// Matches every object.
    pub fn everything() -> Self {
        Self::default()
    }

    /// The field must have the value.
    pub fn equal(field: &str, value: &str) -> Self {
        Self { terms: vec![Term { field: field.to_owned(), value: value.to_owned(), negated: false }] }
    }

    /// Parses the string form; an empty string is everything. The error has upstream's words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = split_terms(text);
        parts.sort_unstable();
        let mut terms = Vec::new();
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            let at = part.find(['=', '!']).map(|first| operator_at(part, first));
            let Some(Some((at, operator))) = at else {
                return Err(format!("invalid selector: '{text}'; can't understand '{part}'"));
            };
            terms.push(Term {
                field: part[..at].to_owned(),
                value: unescape(&part[at + operator.len()..])?,
                negated: operator == "!=",
            });
        }
        Ok(Self { terms })
    }

    /// The terms, sorted by their text.
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// Whether it selects without restriction.
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value that `field` must have, if a term says so: lets a list of one name become a get.
    pub fn requires(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|t| !t.negated && t.field == field).map(|t| t.value.as_str())
    }

    /// Whether the fields that `get` reads (empty when unset) meet every term.
    pub fn matches<S: AsRef<str>>(&self, get: impl Fn(&str) -> S) -> bool {
        self.terms.iter().all(|term| (get(&term.field).as_ref() == term.value) != term.negated)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.terms.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let operator = if term.negated { "!=" } else { "=" };
            write!(f, "{comma}{}{operator}{}", term.field, escape(&term.value))?;
        }
        Ok(())
    }
}

/// Escapes what would end a value.
pub fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=")
}

/// The first operator of a term, from byte `first` on, where a `!` that no `=` follows is none.
fn operator_at(part: &str, first: usize) -> Option<(usize, &'static str)> {
    part[first..].char_indices().find_map(|(at, _)| {
        let rest = &part[first + at..];
        ["!=", "==", "="].into_iter().find(|op| rest.starts_with(op)).map(|op| (first + at, op))
    })
}

/// Splits at commas that no backslash escapes.
fn split_terms(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn unescape(value: &str) -> Result<String, String> {
    let bad_escape = |sequence: &str| format!("invalid field selector: invalid escape sequence: {sequence}");
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                Some(c) => return Err(bad_escape(&format!("\\{c}"))),
                None => return Err(bad_escape("\\")),
            },
            // Upstream prints the character's number.
            ',' | '=' => {
                return Err(format!(
                    "invalid field selector: unescaped character in value: {}",
                    u32::from(c)
                ));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn selects() {
        let get = |field: &str| match field {
            "metadata.name" => "a",
            "odd" => "x,y=z\\",
            _ => "",
        };
        let rows = [
            ("", true),
            ("metadata.name=a", true),
            ("metadata.name==a,spec.nodeName=", true),
            ("metadata.name!=a", false),
            ("spec.nodeName!=n", true),
            ("odd=x\\,y\\=z\\\\", true),
            (",metadata.name=b", false),
        ];
        for (text, expected) in rows {
            assert_eq!(Selector::parse(text).unwrap().matches(get), expected, "{text}");
        }
        assert_eq!(Selector::parse("b!=2,metadata.name=a").unwrap().requires("metadata.name"), Some("a"));
    }

    #[test]
    fn errors_read_as_upstream_prints_them() {
        let rows = [
            ("a", "invalid selector: 'a'; can't understand 'a'"),
            ("a!b", "invalid selector: 'a!b'; can't understand 'a!b'"),
            ("a=b=c", "invalid field selector: unescaped character in value: 61"),
            ("a=\\b", "invalid field selector: invalid escape sequence: \\b"),
            ("a=\\", "invalid field selector: invalid escape sequence: \\"),
        ];
        for (text, expected) in rows {
            assert_eq!(Selector::parse(text).unwrap_err(), expected);
        }
    }

    proptest! {
        #[test]
        fn printing_and_parsing_agree(value in "\\PC{0,12}", negated: bool) {
            let selector = Selector { terms: vec![Term { field: "a.b".to_owned(), value, negated }] };
            prop_assert_eq!(Selector::parse(&selector.to_string()).unwrap(), selector);
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "\\PC{0,20}") {
            let _ = Selector::parse(&text);
        }
    }
}
