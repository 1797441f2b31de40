//! `$(VAR)` references in commands, arguments, environment values and sub-paths.
//!
//! Rule: "$$" is a literal "$", `$(NAME)` of an unknown name stays as it is (API reference of
//! `Container.command`). Pure.

/// Replaces references in `text` by what `lookup` knows.
pub(crate) fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
        } else if let Some((name, tail)) = after.strip_prefix('(').and_then(|t| t.split_once(')')) {
            match lookup(name) {
                Some(value) => out.push_str(&value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = tail;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn expands_known_names_only() {
        let lookup = |name: &str| (name == "A").then(|| "1".to_owned());
        for (text, want) in [
            ("$(A)", "1"),
            ("$$(A)", "$(A)"),
            ("$(B)", "$(B)"),
            ("x$(A)y$(A)", "x1y1"),
            ("$A", "$A"),
            ("$(A", "$(A"),
            ("$$$(A)", "$1"),
            ("$", "$"),
            ("", ""),
        ] {
            assert_eq!(expand(text, lookup), want, "{text}");
        }
    }
}
