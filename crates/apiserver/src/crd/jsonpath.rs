//! The part of JSONPath that printer columns and selectable fields use: fields, indexes, wildcards and filters on
//! equality.
//!
//! Deliberately absent: ranges, scripts, recursive descent.

use serde_json::Value;

/// Bytes of a path.
const MAX_LENGTH: usize = 1024;
/// Filters inside filters.
const MAX_DEPTH: usize = 4;

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Field(String),
    Index(i64),
    All,
    /// `[?(@.path=="value")]`
    Filter(Vec<Step>, String),
}

/// A parsed path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JsonPath(Vec<Step>);

impl JsonPath {
    /// Parses `.spec.items[0].name`; `None` for what is not understood.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches('{').trim_end_matches('}');
        let text = text.strip_prefix('$').unwrap_or(text);
        if text.len() > MAX_LENGTH {
            return None;
        }
        steps(text, 0).map(Self)
    }

    /// Everything that the path leads to.
    pub(super) fn find<'a>(&self, root: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![root];
        for step in &self.0 {
            found = found.into_iter().flat_map(|value| walk(step, value)).collect();
        }
        found
    }
}

fn walk<'a>(step: &Step, value: &'a Value) -> Vec<&'a Value> {
    match step {
        Step::Field(name) => value.get(name).into_iter().collect(),
        Step::Index(at) => {
            let Some(items) = value.as_array() else { return Vec::new() };
            let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
            let at = if *at < 0 { length + at } else { *at };
            usize::try_from(at).ok().and_then(|at| items.get(at)).into_iter().collect()
        }
        Step::All => match value {
            Value::Array(items) => items.iter().collect(),
            Value::Object(fields) => fields.values().collect(),
            _ => Vec::new(),
        },
        Step::Filter(path, wanted) => {
            let matches = |item: &&Value| {
                let mut found = vec![*item];
                for step in path {
                    found = found.into_iter().flat_map(|value| walk(step, value)).collect();
                }
                found.iter().any(|value| plain(value) == *wanted)
            };
            value.as_array().map(|items| items.iter().filter(matches).collect()).unwrap_or_default()
        }
    }
}

/// A value as text, without quotes.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn steps(mut text: &str, depth: usize) -> Option<Vec<Step>> {
    if depth > MAX_DEPTH {
        return None;
    }
    let mut steps = Vec::new();
    while !text.is_empty() {
        if let Some(rest) = text.strip_prefix('[') {
            let end = closing(rest)?;
            steps.push(bracket(rest[..end].trim(), depth)?);
            text = &rest[end + 1..];
            continue;
        }
        let rest = text.strip_prefix('.').unwrap_or(text);
        let (name, rest) = field(rest)?;
        steps.push(if name == "*" { Step::All } else { Step::Field(name) });
        text = rest;
    }
    Some(steps)
}

/// A field name up to the next dot or bracket; a backslash takes the next character as it is.
fn field(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut chars = text.char_indices();
    let mut end = text.len();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => name.push(chars.next()?.1),
            '.' | '[' => {
                end = at;
                break;
            }
            c => name.push(c),
        }
    }
    (!name.is_empty()).then(|| (name, &text[end..]))
}

/// Where the bracket closes, quotes and inner brackets skipped.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0_usize, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if open == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(at),
            (None, ']') => depth -= 1,
            _ => {}
        }
    }
    None
}

fn unquote(text: &str) -> Option<&str> {
    let text = text.trim();
    ['"', '\''].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote))
}

fn bracket(text: &str, depth: usize) -> Option<Step> {
    if text == "*" {
        return Some(Step::All);
    }
    if let Some(name) = unquote(text) {
        return Some(Step::Field(name.to_owned()));
    }
    if let Some(filter) = text.strip_prefix("?(").and_then(|rest| rest.strip_suffix(')')) {
        let (path, wanted) = filter.split_once("==")?;
        let path = path.trim().strip_prefix('@')?;
        let wanted = unquote(wanted).unwrap_or(wanted.trim());
        return Some(Step::Filter(steps(path, depth + 1)?, wanted.to_owned()));
    }
    text.parse().ok().map(Step::Index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_lead_to_values() {
        let object = json!({"spec": {"replicas": 3, "a.b": "x"}, "status": {"conditions": [
            {"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}]}});
        for (path, expected) in [
            (".spec.replicas", vec!["3"]),
            (r".spec.a\.b", vec!["x"]),
            (".spec['a.b']", vec!["x"]),
            (r#".status.conditions[?(@.type=="Ready")].status"#, vec!["True"]),
            (".status.conditions[*].type", vec!["Ready", "Other"]),
            (".status.conditions[-1].type", vec!["Other"]),
            (".spec.none", vec![]),
        ] {
            let path = JsonPath::parse(path).unwrap();
            let found: Vec<String> = path.find(&object).into_iter().map(plain).collect();
            assert_eq!(found, expected, "{path:?}");
        }
        for bad in [".spec[", ".a..b", ".x[?(y)]"] {
            assert_eq!(JsonPath::parse(bad), None, "{bad}");
        }
    }
}
