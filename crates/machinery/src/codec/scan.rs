//! Finding places in JSON text that is known to be JSON, without reading it into a tree.
//!
//! Deliberately absent: checks. What is no JSON gives some place inside the text, never a panic.

/// The end of the string that starts at `from`, behind its last quote.
fn string_end(json: &[u8], from: usize) -> usize {
    let mut at = from + 1;
    while let Some(found) = json.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found;
        if json[at] == b'"' {
            return at + 1;
        }
        // Whatever is escaped is no end.
        at += 2;
    }
    json.len()
}

/// The end of the JSON value that starts at `from`.
pub fn value_end(json: &[u8], from: usize) -> usize {
    let (mut depth, mut at) = (0_usize, from);
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => {
                at = string_end(json, at);
                if depth == 0 {
                    return at;
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' | b',' if depth == 0 => return at,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    json.len()
}

/// Moves `metadata` right behind `apiVersion` and `kind`, which come first already. Types with fields that sort
/// before it (`data`, `binaryData`, …) are written in another order; what is written has no white space.
pub fn metadata_first(mut json: Vec<u8>) -> Vec<u8> {
    const KEY: &[u8] = b"\"metadata\":";
    let (mut at, mut head) = (1, None);
    while at < json.len() {
        let colon = string_end(&json, at);
        if json.get(colon) != Some(&b':') {
            break;
        }
        let end = value_end(&json, colon + 1);
        if json[at..].starts_with(KEY) {
            if let Some(head) = head.filter(|head| *head != at) {
                // Metadata and its comma change places with what stands before them: `,"metadata":{…}` follows
                // something, and something follows it at its new place.
                let moved = end - at + 1;
                json[head..end].rotate_right(moved);
                json[head..head + moved].rotate_left(1);
            }
            return json;
        }
        let fixed = json[at..].starts_with(b"\"apiVersion\":") || json[at..].starts_with(b"\"kind\":");
        if !fixed {
            head.get_or_insert(at);
        }
        at = end + 1;
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_moves_to_the_front() {
        let rows = [
            (
                r#"{"apiVersion":"v1","kind":"A","data":{"x":"}\"metadata\":{"},"metadata":{"n":[1]},"z":1}"#,
                r#"{"apiVersion":"v1","kind":"A","metadata":{"n":[1]},"data":{"x":"}\"metadata\":{"},"z":1}"#,
            ),
            (
                r#"{"apiVersion":"v1","kind":"A","data":{"metadata":{"inner":1}},"metadata":{}}"#,
                r#"{"apiVersion":"v1","kind":"A","metadata":{},"data":{"metadata":{"inner":1}}}"#,
            ),
            (
                r#"{"apiVersion":"v1","kind":"A","metadata":{},"spec":{}}"#,
                r#"{"apiVersion":"v1","kind":"A","metadata":{},"spec":{}}"#,
            ),
            (r#"{"apiVersion":"v1","kind":"A"}"#, r#"{"apiVersion":"v1","kind":"A"}"#),
        ];
        for (before, after) in rows {
            assert_eq!(String::from_utf8(metadata_first(before.as_bytes().to_vec())).unwrap(), after);
        }
    }

    #[test]
    fn values_end_where_they_end() {
        for value in [r#""a\"b\\""#, "12", "{}", r#"[{"a":"]"},["}"]]"#, "true", r#""""#, r#""\\""#] {
            for tail in [",1", "}", "]", ""] {
                let text = format!("{{\"k\":{value}{tail}");
                assert_eq!(value_end(text.as_bytes(), 5), 5 + value.len(), "{text}");
            }
        }
    }
}
