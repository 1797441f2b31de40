//! JSONPath in kubectl's dialect (kubernetes.io/docs/reference/kubectl/jsonpath): templates of text and `{paths}`, with
//! `{range}`, filters, unions, slices and recursive descent. Printer columns of custom resources and field paths of
//! `kubectl wait` are its simplest form.
//!
//! Deliberately absent: RFC 9535 where it differs, regular expressions and functions.

mod eval;
mod parse;

use serde_json::Value;

/// What is wrong with a template, or with the object it is applied to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JsonPathError(pub String);

/// A parsed template.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    /// Printed as it is.
    Text(String),
    /// What it finds is printed, with spaces in between.
    Path(Vec<Step>),
    /// Its body is evaluated for each of what it finds.
    Range(Vec<Step>, Vec<Part>),
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// `$`: the whole object.
    Root,
    /// `.name`.
    Field(String),
    /// `[1]`, `[1:3]`, `[-1:]`.
    Slice(Slice),
    /// `[*]`, `.*`.
    Wildcard,
    /// `..`: the value and everything below.
    Recursive,
    /// `['a','b']`, `[0,2]`.
    Union(Vec<Step>),
    /// `[?(@.a == "b")]`.
    Filter(Operand, Compare, Option<Operand>),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Slice {
    start: Option<i64>,
    end: Option<i64>,
    step: Option<i64>,
    /// One index, which must exist.
    single: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Path(Vec<Step>),
    Literal(Value),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    Exists,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl JsonPath {
    /// Parses a template such as `{.items[*].metadata.name}`.
    pub fn parse(template: &str) -> Result<Self, JsonPathError> {
        Ok(Self { parts: parse::template(template)? })
    }

    /// Parses one path that may leave out the braces and the first dot: `.spec.replicas`, `status.phase`, `{.a}`.
    pub fn parse_relaxed(path: &str) -> Result<Self, JsonPathError> {
        let path = path.trim();
        let inner = path.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(path);
        if inner.contains(['{', '}']) || inner.is_empty() {
            return Err(JsonPathError(format!(
                "unexpected path string, expected a 'name1.name2' or '.name1.name2' or '{{name1.name2}}' or \
                 '{{.name1.name2}}', found {path:?}"
            )));
        }
        let dot = if inner.starts_with(['.', '[', '$', '@']) { "" } else { "." };
        Self::parse(&format!("{{{dot}{inner}}}"))
    }

    /// Everything that the template's paths find in `root`, in order. Missing fields find nothing.
    pub fn find<'v>(&'v self, root: &'v Value) -> Result<Vec<&'v Value>, JsonPathError> {
        let mut out = Vec::new();
        eval::find(&self.parts, root, root, &mut out)?;
        Ok(out)
    }

    /// The template filled from `root`. Missing fields print nothing.
    pub fn render(&self, root: &Value) -> Result<String, JsonPathError> {
        let mut out = String::new();
        eval::render(&self.parts, root, root, &mut out)?;
        Ok(out)
    }
}

/// How a value is printed: strings as they are, everything else as JSON.
pub fn display(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
