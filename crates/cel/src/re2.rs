//! Patterns in RE2's dialect, as Go reads it, on the `regex` crate: classes like `\d` and `\b` are ASCII, and
//! brackets inside classes are plain.

use regex::Regex;

/// Bytes that a compiled pattern may take.
const MAX_SIZE: usize = 1 << 20;

/// Compiles a pattern; an error says what is wrong with it.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    let translated = translate(pattern);
    let mut builder = regex::RegexBuilder::new(&translated);
    builder.size_limit(MAX_SIZE).nest_limit(200).build().map_err(|error| {
        let last = error.to_string();
        let last = last.lines().last().unwrap_or_default().trim_start_matches("error: ");
        format!("error parsing regexp: {last}: `{pattern}`")
    })
}

fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern;
    let mut class = false;
    while let Some(next) = rest.chars().next() {
        let mut taken = next.len_utf8();
        match next {
            '\\' => {
                let letter = rest[1..].chars().next();
                taken = 1 + letter.map_or(0, char::len_utf8);
                if letter == Some('Q') {
                    let quoted = &rest[2..];
                    let end = quoted.find("\\E").unwrap_or(quoted.len());
                    out.push_str(&regex::escape(&quoted[..end]));
                    taken = (2 + end + 2).min(rest.len());
                } else {
                    match letter.and_then(|letter| ascii(letter, class)) {
                        Some(text) => out.push_str(text),
                        None => out.push_str(&rest[..taken]),
                    }
                }
            }
            '[' if !class => {
                class = true;
                out.push('[');
                // A bracket that closes at once is an item.
                let negated = rest[1..].starts_with('^');
                if negated {
                    out.push('^');
                    taken += 1;
                }
                if rest[taken..].starts_with(']') {
                    out.push_str("\\]");
                    taken += 1;
                }
            }
            '[' => match rest.starts_with("[:").then(|| rest.find(":]")).flatten() {
                Some(end) => {
                    taken = end + 2;
                    out.push_str(&rest[..taken]);
                }
                None => out.push_str("\\["),
            },
            ']' if class => {
                class = false;
                out.push(']');
            }
            '&' | '~' if class => {
                out.push('\\');
                out.push(next);
            }
            '-' if class && rest.starts_with("--") => out.push_str("\\-"),
            _ => out.push(next),
        }
        rest = &rest[taken..];
    }
    out
}

fn ascii(letter: char, class: bool) -> Option<&'static str> {
    Some(match (letter, class) {
        ('d', false) => "[0-9]",
        ('d', true) => "0-9",
        ('D', _) => "[^0-9]",
        ('w', false) => "[0-9A-Za-z_]",
        ('w', true) => "0-9A-Za-z_",
        ('W', _) => "[^0-9A-Za-z_]",
        ('s', false) => "[\\t\\n\\f\\r ]",
        ('s', true) => "\\t\\n\\f\\r ",
        ('S', _) => "[^\\t\\n\\f\\r ]",
        ('b', false) => "(?-u:\\b)",
        ('B', false) => "(?-u:\\B)",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::compile;

    #[test]
    fn the_dialect_is_re2s() {
        for (pattern, text, expected) in [
            (r"^\d+$", "12", true),
            (r"^\d+$", "١٢", false),
            (r"^[\w.-]+$", "a_b.c-d", true),
            (r"^\w$", "é", false),
            (r"^[[]$", "[", true),
            (r"^[]a]$", "]", true),
            (r"^[^]]$", "]", false),
            (r"^[[:alpha:]]+$", "ab", true),
            (r"^[a&&b]$", "&", true),
            (r"\bfoo\b", "a foo b", true),
            (r"^\Qa.b\E$", "a.b", true),
            (r"^.$", "é", true),
            (r"(?i)^A$", "a", true),
        ] {
            assert_eq!(compile(pattern).unwrap().is_match(text), expected, "{pattern} {text}");
        }
        assert!(compile("(").unwrap_err().starts_with("error parsing regexp: "));
        assert!(compile("(?:a{1000}){1000}").is_err());
    }
}
