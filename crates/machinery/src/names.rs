//! What names, labels and keys may look like, in upstream's words: each check returns the messages of what
//! is wrong, none when the value is good (documentation, "Object Names and IDs", "Labels and Selectors").
//!
//! Deliberately absent: regular expressions; the patterns are simple enough to be read byte by byte, and are
//! printed only because messages contain them.

use crate::field::{FieldErrors, FieldPath};
use std::collections::BTreeMap;

/// Longest DNS label, label value and name part, in bytes.
pub const LABEL_MAX: usize = 63;
/// Longest DNS subdomain, in bytes.
pub const SUBDOMAIN_MAX: usize = 253;
/// Most bytes of all annotations of an object together.
pub const ANNOTATIONS_MAX: usize = 256 * 1024;

const LABEL_RE: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN_RE: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const QUALIFIED_RE: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";

/// Messages of what is wrong; empty when nothing is.
pub type Messages = Vec<String>;

fn regex_message(rule: &str, pattern: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{rule} (regex used for validation is '{pattern}')");
    }
    let examples: Vec<String> = examples.iter().map(|example| format!("'{example}', ")).collect();
    format!("{rule} (e.g. {}regex used for validation is '{pattern}')", examples.join(" or "))
}

fn too_long(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

/// Whether `value` is made of `inner` bytes, with `ends` at both ends, and not empty.
fn shaped(value: &str, ends: impl Fn(u8) -> bool, inner: impl Fn(u8) -> bool) -> bool {
    let bytes = value.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) => ends(*first) && ends(*last) && bytes.iter().all(|b| inner(*b)),
        _ => false,
    }
}

fn lower(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

fn is_label(value: &str) -> bool {
    shaped(value, lower, |b| lower(b) || b == b'-')
}

fn is_subdomain(value: &str) -> bool {
    value.split('.').all(is_label)
}

fn is_qualified(value: &str) -> bool {
    shaped(value, |b| b.is_ascii_alphanumeric(), |b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// A label of RFC 1123: names of namespaces, containers and many others.
pub fn dns1123_label(value: &str) -> Messages {
    let mut wrong = Messages::new();
    if value.len() > LABEL_MAX {
        wrong.push(too_long(LABEL_MAX));
    }
    if !is_label(value) {
        if is_subdomain(value) {
            wrong.push("must not contain dots".to_owned());
        } else {
            wrong.push(regex_message(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
                 start and end with an alphanumeric character",
                LABEL_RE,
                &["my-name", "123-abc"],
            ));
        }
    }
    wrong
}

/// A subdomain of RFC 1123: names of most objects.
pub fn dns1123_subdomain(value: &str) -> Messages {
    let mut wrong = Messages::new();
    if value.len() > SUBDOMAIN_MAX {
        wrong.push(too_long(SUBDOMAIN_MAX));
    }
    if !is_subdomain(value) {
        wrong.push(regex_message(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
             must start and end with an alphanumeric character",
            SUBDOMAIN_RE,
            &["example.com"],
        ));
    }
    wrong
}

/// A subdomain of RFC 1123 after `*.`: hosts of ingresses.
pub fn wildcard_dns1123_subdomain(value: &str) -> Messages {
    let mut wrong = Messages::new();
    if value.len() > SUBDOMAIN_MAX {
        wrong.push(too_long(SUBDOMAIN_MAX));
    }
    if !value.strip_prefix("*.").is_some_and(is_subdomain) {
        wrong.push(regex_message(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must \
             consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
            &format!(r"\*\.{SUBDOMAIN_RE}"),
            &["*.example.com"],
        ));
    }
    wrong
}

/// A label of RFC 1035: names of services.
pub fn dns1035_label(value: &str) -> Messages {
    let mut wrong = Messages::new();
    if value.len() > LABEL_MAX {
        wrong.push(too_long(LABEL_MAX));
    }
    if !is_label(value) || value.starts_with(|c: char| c.is_ascii_digit()) {
        wrong.push(regex_message(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
             character, and end with an alphanumeric character",
            "[a-z]([-a-z0-9]*[a-z0-9])?",
            &["my-name", "abc-123"],
        ));
    }
    wrong
}

/// A name with an optional DNS subdomain before a slash: keys of labels and annotations, finalizers,
/// resource names.
pub fn qualified_name(value: &str) -> Messages {
    const RULE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                        alphanumeric character";
    const EXAMPLES: &[&str] = &["MyName", "my.name", "123-abc"];
    let mut wrong = Messages::new();
    let parts: Vec<&str> = value.split('/').collect();
    let name = match parts.as_slice() {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                wrong.push("prefix part must be non-empty".to_owned());
            } else {
                wrong.extend(dns1123_subdomain(prefix).into_iter().map(|m| format!("prefix part {m}")));
            }
            name
        }
        _ => {
            let message = regex_message(&format!("a qualified name {RULE}"), QUALIFIED_RE, EXAMPLES);
            wrong.push(format!(
                "{message} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            ));
            return wrong;
        }
    };
    if name.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_MAX {
        wrong.push(format!("name part {}", too_long(LABEL_MAX)));
    }
    if !is_qualified(name) {
        wrong.push(format!("name part {}", regex_message(RULE, QUALIFIED_RE, EXAMPLES)));
    }
    wrong
}

/// The value of a label.
pub fn label_value(value: &str) -> Messages {
    let mut wrong = Messages::new();
    if value.len() > LABEL_MAX {
        wrong.push(too_long(LABEL_MAX));
    }
    if !value.is_empty() && !is_qualified(value) {
        wrong.push(regex_message(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
             start and end with an alphanumeric character",
            &format!("({QUALIFIED_RE})?"),
            &["MyValue", "my_value", "12345"],
        ));
    }
    wrong
}

/// The name of an environment variable: any printable ASCII but `=`.
pub fn env_var_name(value: &str) -> Messages {
    let mut wrong = Messages::new();
    if value.is_empty() {
        wrong.push("environment variable name must be non-empty".to_owned());
    }
    if !value.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=') {
        wrong.push(
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
                .to_owned(),
        );
    }
    wrong
}

/// An identifier of C: names of variables in some volume and policy kinds.
pub fn c_identifier(value: &str) -> Messages {
    let good = value
        .bytes()
        .enumerate()
        .all(|(at, b)| b.is_ascii_alphabetic() || b == b'_' || (at > 0 && b.is_ascii_digit()));
    if good && !value.is_empty() {
        return Messages::new();
    }
    vec![regex_message(
        "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric \
         characters or '_'",
        "[A-Za-z_][A-Za-z0-9_]*",
        &["my_name", "MY_NAME", "MyName"],
    )]
}

/// A key of a ConfigMap or Secret.
pub fn config_map_key(value: &str) -> Messages {
    let mut wrong = Messages::new();
    if value.len() > SUBDOMAIN_MAX {
        wrong.push(too_long(SUBDOMAIN_MAX));
    }
    if value.is_empty() || !value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) {
        wrong.push(regex_message(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    match value {
        "." => wrong.push("must not be '.'".to_owned()),
        ".." => wrong.push("must not be '..'".to_owned()),
        value if value.starts_with("..") => wrong.push("must not start with '..'".to_owned()),
        _ => {}
    }
    wrong
}

/// A name that stands in a URL path: RBAC objects and custom resources without a stricter rule.
pub fn path_segment(value: &str) -> Messages {
    match value {
        "." | ".." => vec![format!("may not be '{value}'")],
        value => ["/", "%"]
            .into_iter()
            .filter(|part| value.contains(part))
            .map(|part| format!("may not contain '{part}'"))
            .collect(),
    }
}

/// The name of a port (IANA service name).
pub fn port_name(value: &str) -> Messages {
    let mut wrong = Messages::new();
    if value.len() > 15 {
        wrong.push(too_long(15));
    }
    if value.is_empty() || !value.bytes().all(|b| lower(b) || b == b'-') {
        wrong.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !value.bytes().any(|b| b.is_ascii_lowercase()) {
        wrong.push("must contain at least one letter (a-z)".to_owned());
    }
    if value.contains("--") {
        wrong.push("must not contain consecutive hyphens".to_owned());
    }
    if value.starts_with('-') || value.ends_with('-') {
        wrong.push("must not begin or end with a hyphen".to_owned());
    }
    wrong
}

/// The number of a port.
pub fn port_number(port: i64) -> Messages {
    if (1..=65535).contains(&port) { Messages::new() } else { vec![inclusive_range(1, 65535)] }
}

/// What a number out of range is told.
pub fn inclusive_range(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

/// Checks `metadata.labels` (or any other labels) at `path`.
pub fn validate_labels(labels: &BTreeMap<String, String>, path: &FieldPath, errors: &mut FieldErrors) {
    for (key, value) in labels {
        for message in qualified_name(key) {
            errors.invalid(path.clone(), key, message);
        }
        for message in label_value(value) {
            errors.invalid(path.clone(), value, message);
        }
    }
}

/// Checks `metadata.annotations` at `path`: keys in any case, and the size of all together.
pub fn validate_annotations(
    annotations: &BTreeMap<String, String>,
    path: &FieldPath,
    errors: &mut FieldErrors,
) {
    for key in annotations.keys() {
        for message in qualified_name(&key.to_lowercase()) {
            errors.invalid(path.clone(), key, message);
        }
    }
    if annotations.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() > ANNOTATIONS_MAX {
        errors.too_long(path.clone(), ANNOTATIONS_MAX);
    }
}

/// Letters of generated names: no vowels and no look-alikes, so that no words come out.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX: usize = 5;

/// A name for `metadata.generateName`: the prefix, cut so that the whole fits a DNS label, and five letters
/// drawn with `random`, which returns a number below its argument.
pub fn generate_name(prefix: &str, mut random: impl FnMut(usize) -> usize) -> String {
    let mut end = prefix.len().min(LABEL_MAX - SUFFIX);
    while !prefix.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = prefix[..end].to_owned();
    for _ in 0..SUFFIX {
        name.push(char::from(ALPHABET[random(ALPHABET.len()) % ALPHABET.len()]));
    }
    name
}

/// A suffix like that of [`generate_name`] from a hash, for names that must come out the same each time
/// (`pod-template-hash`): each decimal digit of `hash` maps to a letter.
pub fn safe_encode(hash: u32) -> String {
    hash.to_string().bytes().map(|b| char::from(ALPHABET[usize::from(b) % ALPHABET.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_and_bad() {
        type Check = fn(&str) -> Messages;
        let rows: &[(Check, &[&str], &[&str])] = &[
            (dns1123_label, &["a", "0-a"], &["", "A", "-a", "a-", "a.b", "a_b"]),
            (dns1123_subdomain, &["a", "a.b-c.0"], &["", "a..b", ".a", "a.", "A.b", "a.-b"]),
            (wildcard_dns1123_subdomain, &["*.a.b"], &["*", "a.b", "*.", "*.*.b"]),
            (dns1035_label, &["a0"], &["", "0a", "a.b"]),
            (qualified_name, &["a", "A_b.c", "x.io/A"], &["", "/a", "a/", "X/a", "a/b/c", "-a"]),
            (label_value, &["", "A.b"], &["a/b", "-", "a."]),
            (env_var_name, &["A", "a.b c", "1"], &["", "a=b", "a\n", "ä"]),
            (config_map_key, &["a.b", ".x"], &["", ".", "..", "..a", "a/b"]),
            (path_segment, &["a:b", "..."], &[".", "..", "a/b", "a%b"]),
            (port_name, &["http", "8080-a"], &["", "8080", "a--b", "-a", "A", "sixteen-letters-"]),
            (c_identifier, &["_a1"], &["", "1a", "a-b"]),
        ];
        for (at, (check, good, bad)) in rows.iter().enumerate() {
            for value in *good {
                assert_eq!(check(value), Messages::new(), "row {at}: {value}");
            }
            for value in *bad {
                assert!(!check(value).is_empty(), "row {at}: {value}");
            }
        }
        assert_eq!(dns1123_label(&"a".repeat(64)), ["must be no more than 63 bytes"]);
        assert_eq!(dns1123_label("a.b"), ["must not contain dots"]);
    }

    #[test]
    fn messages_read_as_upstream_prints_them() {
        assert_eq!(
            dns1123_subdomain("A").join(""),
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
             must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
        );
    }

    #[test]
    fn generated_names_fit() {
        assert_eq!(generate_name("web-", |_| 0), "web-bbbbb");
        assert_eq!(generate_name(&"a".repeat(70), |n| n - 1).len(), 63);
        assert_eq!(safe_encode(10).len(), 2);
    }

    #[test]
    fn annotations_are_bounded_together() {
        let mut errors = FieldErrors::new();
        let big = BTreeMap::from([("A/b".to_owned(), "x".repeat(ANNOTATIONS_MAX))]);
        validate_annotations(&big, &FieldPath::new("metadata").child("annotations"), &mut errors);
        assert_eq!(errors.to_string(), "metadata.annotations: Too long: may not be more than 262144 bytes");
    }
}
