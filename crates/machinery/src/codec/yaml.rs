//! YAML to trees, with the booleans (`yes`, `on`) and octal numbers (`0644`) that users of kubectl expect.
//! Aliases, nesting and the number of nodes are bounded.

use super::{CodecError, Decoded};
use serde_json::Value;
use serde_saphyr::{DuplicateKeyPolicy, Options};

/// Levels of nesting. Debug builds need about 25 KiB of stack for each, and threads of a pool have 2 MiB.
const DEPTH_MAX: usize = 64;
const NODES_MAX: usize = 1_000_000;
/// Nodes that aliases may add: enough for any manifest, too few for a bomb.
const ALIASED_MAX: usize = 200_000;

fn options(duplicate_keys: DuplicateKeyPolicy) -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: DEPTH_MAX, max_nodes: NODES_MAX, max_events: 3 * NODES_MAX },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: ALIASED_MAX },
        duplicate_keys: duplicate_keys,
        legacy_octal_numbers: true,
        strict_booleans: false,
        with_snippet: false,
    }
}

fn text(bytes: &[u8]) -> Result<&str, CodecError> {
    std::str::from_utf8(bytes).map_err(|_| CodecError("yaml: invalid UTF-8".to_owned()))
}

fn error(error: &serde_saphyr::Error) -> CodecError {
    let message = error.without_snippet().to_string();
    CodecError(format!("yaml: {}", message.trim_end()))
}

/// Decodes one document; more than one is an error, none is null. The first duplicate key is reported.
pub fn decode(bytes: &[u8]) -> Result<Decoded, CodecError> {
    let mut decoded = decode_all(bytes)?;
    match decoded.len() {
        0 => Ok(Decoded { value: Value::Null, duplicates: Vec::new() }),
        1 => Ok(decoded.swap_remove(0)),
        many => Err(CodecError(format!("yaml: expected one document, found {many}"))),
    }
}

/// Decodes every document that is not empty.
pub fn decode_all(bytes: &[u8]) -> Result<Vec<Decoded>, CodecError> {
    let text = text(bytes)?;
    let plain = |values: Vec<Value>, duplicates: Vec<String>| {
        // Where a file of several documents has a duplicate, each of them answers for it.
        values.into_iter().map(|value| Decoded { value, duplicates: duplicates.clone() }).collect()
    };
    match parse(text, DuplicateKeyPolicy::Error) {
        Ok(values) => Ok(plain(values, Vec::new())),
        Err(first) => {
            let serde_saphyr::Error::DuplicateMappingKey { key, location } = first.without_snippet() else {
                return Err(error(&first));
            };
            let duplicate = format!(
                "line {}: key {:?} already set in map",
                location.line(),
                key.as_deref().unwrap_or_default()
            );
            let values = parse(text, DuplicateKeyPolicy::LastWins).map_err(|second| error(&second))?;
            Ok(plain(values, vec![duplicate]))
        }
    }
}

fn parse(text: &str, duplicates: DuplicateKeyPolicy) -> Result<Vec<Value>, serde_saphyr::Error> {
    serde_saphyr::from_multiple_with_options(text, options(duplicates))
}

/// Prints a tree as kubectl does: keys in the tree's own order, ambiguous strings quoted.
pub fn print(value: &Value) -> Result<String, CodecError> {
    Ok(super::print::document(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_what_users_write() {
        let text =
            "a: yes\nb: 0644\nc: \"yes\"\nd: 1.5\ne: ~\nf: [x, 2]\ng: |\n  two\n  lines\nh: 0x10\ni: 1e3\n";
        assert_eq!(
            decode(text.as_bytes()).unwrap().value,
            json!({"a": true, "b": 420, "c": "yes", "d": 1.5, "e": null, "f": ["x", 2], "g": "two\nlines\n",
                   "h": 16, "i": 1000.0})
        );
    }

    #[test]
    fn splits_documents() {
        let all = decode_all(b"---\na: 1\n---\n# nothing\n---\nb: 2\n...\n").unwrap();
        assert_eq!(all.into_iter().map(|d| d.value).collect::<Vec<_>>(), [json!({"a": 1}), json!({"b": 2})]);
        assert!(decode(b"a: 1\n---\nb: 1\n").is_err());
    }

    #[test]
    fn notes_duplicates() {
        let decoded = decode(b"a: 1\nb: 2\na: 3\n").unwrap();
        assert_eq!(decoded.value, json!({"a": 3, "b": 2}));
        assert_eq!(decoded.duplicates, ["line 3: key \"a\" already set in map"]);
    }

    #[test]
    fn bombs_are_defused() {
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..12 {
            let inner = format!("*a{},", level - 1).repeat(10);
            bomb.push_str(&format!("a{level}: &a{level} [{inner}]\n"));
        }
        assert!(decode(bomb.as_bytes()).is_err());
        assert!(decode("[".repeat(10_000).as_bytes()).is_err());
        assert!(decode("- ".repeat(DEPTH_MAX).as_bytes()).is_ok());
        assert!(decode("- ".repeat(10_000).as_bytes()).is_err());
    }

    #[test]
    fn prints_and_reads_back() {
        let value = json!({"z": 1, "a": ["x", {"b": "yes", "c": "0644", "d": "a: b"}], "t": "two\nlines\n", "e": {},
                           "n": null, "s": "", "num": "1.5", "dash": "- x", "l": []});
        let text = print(&value).unwrap();
        assert_eq!(decode(text.as_bytes()).unwrap().value, value, "{text}");
    }
}
