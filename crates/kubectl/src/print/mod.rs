//! How objects are printed: [`Output`] is what `-o` asks for, [`table`] the columns for people, [`tabs`] their alignment.

pub(crate) mod columns;
pub(crate) mod table;
pub(crate) mod tabs;

use crate::error::{Result, fail, message};
use crate::flags::{is_set, text};
use crate::gotemplate::Template;
use clap::ArgMatches;
use columns::CustomColumns;
use machinery::jsonpath::JsonPath;
use serde_json::{Map, Value, json};

/// What `-o` asks for.
#[derive(Clone, Debug)]
pub(crate) enum Output {
    /// Columns for people; more of them when wide.
    Human {
        wide: bool,
    },
    Json,
    Yaml,
    Name,
    JsonPath(JsonPath),
    /// What a template finds, as JSON.
    JsonPathAsJson(JsonPath),
    Columns(CustomColumns),
    Template(Template),
}

const FORMATS: &str = "custom-columns,custom-columns-file,go-template,go-template-file,json,jsonpath,jsonpath-as-json,jsonpath-file,name,template,templatefile,wide,yaml";

impl Output {
    /// Reads `--output`, `--template` and what belongs to them.
    pub(crate) fn of(matches: &ArgMatches, no_headers: bool) -> Result<Self> {
        let template = text(matches, "template");
        let format = match (text(matches, "output"), template) {
            (None, Some(template)) => Some(format!("go-template={template}")),
            (
                Some(format @ ("go-template" | "template" | "go-template-file" | "templatefile")),
                Some(template),
            ) => Some(format!("{format}={template}")),
            (format, _) => format.map(str::to_owned),
        };
        let strict = matches.try_contains_id("allow-missing-template-keys").unwrap_or(false)
            && !is_set(matches, "allow-missing-template-keys");
        Ok(match Self::parse(format.as_deref(), no_headers)? {
            Self::Template(template) if strict => Self::Template(template.with_missing_as_error()),
            output => output,
        })
    }

    /// Reads the flag's value.
    pub(crate) fn parse(text: Option<&str>, no_headers: bool) -> Result<Self> {
        let Some(text) = text else { return Ok(Self::Human { wide: false }) };
        let (format, argument) = text.split_once('=').unwrap_or((text, ""));
        let template = || -> Result<JsonPath> {
            if argument.is_empty() {
                return fail("template format specified but no template given");
            }
            JsonPath::parse(argument)
                .map_err(|error| message(format!("error parsing jsonpath {argument}, {error}")))
        };
        let file = || {
            std::fs::read_to_string(argument)
                .map_err(|error| message(format!("error reading template {argument}, {error}")))
        };
        Ok(match format {
            "wide" => Self::Human { wide: true },
            "json" => Self::Json,
            "yaml" => Self::Yaml,
            "name" => Self::Name,
            "jsonpath" => Self::JsonPath(template()?),
            "jsonpath-as-json" => Self::JsonPathAsJson(template()?),
            "jsonpath-file" => Self::JsonPath(
                JsonPath::parse(&file()?)
                    .map_err(|error| message(format!("error parsing jsonpath, {error}")))?,
            ),
            "custom-columns" => Self::Columns(CustomColumns::parse(argument, no_headers)?),
            "custom-columns-file" => Self::Columns(CustomColumns::parse_file(&file()?, no_headers)?),
            "go-template" | "template" => Self::go_template(argument)?,
            "go-template-file" | "templatefile" => {
                let text = std::fs::read_to_string(argument)
                    .map_err(|error| message(format!("error reading --template {argument}, {error}")))?;
                Self::go_template(&text)?
            }
            _ => {
                return fail(format!(
                    "unable to match a printer suitable for the output format {format:?}, allowed formats are: {FORMATS}"
                ));
            }
        })
    }

    fn go_template(text: &str) -> Result<Self> {
        if text.is_empty() {
            return fail("template format specified but no template given");
        }
        let parsed = Template::parse(text);
        parsed.map(Self::Template).map_err(|error| message(format!("error parsing template {text}, {error}")))
    }

    pub(crate) fn is_human(&self) -> bool {
        matches!(self, Self::Human { .. })
    }

    /// Prints one object whole. [`Output::Human`] and [`Output::Name`] are the callers' to print.
    pub(crate) fn object(&self, value: &Value) -> Result<String> {
        Ok(match self {
            Self::Json => to_json(value),
            Self::Yaml => to_yaml(value)?,
            Self::Name | Self::Human { .. } => format!("{}\n", name_of(value)),
            Self::JsonPath(path) => path
                .render(&sorted(value))
                .map_err(|error| message(format!("error executing jsonpath: {error}")))?,
            Self::JsonPathAsJson(path) => {
                let value = &sorted(value);
                let found = path
                    .find(value)
                    .map_err(|error| message(format!("error executing jsonpath: {error}")))?;
                to_json(&json!(found))
            }
            Self::Columns(columns) => columns.print(value)?,
            Self::Template(template) => template.render(value).map_err(|error| {
                message(format!("error executing template {:?}: {error}", template.text()))
            })?,
        })
    }
}

/// `deployment.apps/web`.
pub(crate) fn name_of(value: &Value) -> String {
    let api_version = value["apiVersion"].as_str().unwrap_or_default();
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let kind = value["kind"].as_str().unwrap_or_default().to_lowercase();
    let name = value["metadata"]["name"].as_str().unwrap_or_default();
    if group.is_empty() { format!("{kind}/{name}") } else { format!("{kind}.{group}/{name}") }
}

/// The tree with sorted keys, as every printed object has them.
pub(crate) fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(&String, &Value)> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            Value::Object(entries.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

/// Escapes what Go's encoder escapes in JSON, so that output is byte for byte upstream's.
fn escape_html(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            other => out.push(other),
        }
    }
    out
}

/// Compact JSON with sorted keys and a line feed, as annotations hold it.
pub(crate) fn to_compact_json(value: &Value) -> String {
    escape_html(&sorted(value).to_string()) + "\n"
}

/// JSON indented by four.
pub(crate) fn to_json(value: &Value) -> String {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    // Trees written to memory do not fail.
    let _ = serde::Serialize::serialize(&sorted(value), &mut serializer);
    escape_html(&String::from_utf8_lossy(&bytes)) + "\n"
}

/// YAML.
pub(crate) fn to_yaml(value: &Value) -> Result<String> {
    Ok(machinery::codec::yaml::print(&sorted(value))?)
}

/// Several objects as one.
pub(crate) fn list_of(items: Vec<Value>) -> Value {
    json!({"apiVersion": "v1", "items": items, "kind": "List", "metadata": {"resourceVersion": ""}})
}

/// Removes who owns which fields, which nobody wants to read.
pub(crate) fn without_managed_fields(value: &mut Value) {
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    if let Some(items) = value.get_mut("items").and_then(Value::as_array_mut) {
        items.iter_mut().for_each(without_managed_fields);
    }
}

/// Labels in the form of a list.
pub(crate) fn labels_text(labels: Option<&Map<String, Value>>) -> String {
    let mut pairs: Vec<String> = labels
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    pairs.sort();
    if pairs.is_empty() { "<none>".to_owned() } else { pairs.join(",") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_yaml_are_sorted() {
        let value = json!({"b": {"y": "<a>", "x": 1}, "a": []});
        assert_eq!(
            to_json(&value),
            "{\n    \"a\": [],\n    \"b\": {\n        \"x\": 1,\n        \"y\": \"\\u003ca\\u003e\"\n    }\n}\n"
        );
        assert_eq!(to_yaml(&value).unwrap(), "a: []\nb:\n  x: 1\n  \"y\": <a>\n");
    }

    #[test]
    fn unknown_formats_are_refused() {
        let error = Output::parse(Some("foo"), false).unwrap_err().text();
        assert!(
            error.starts_with("error: unable to match a printer suitable for the output format \"foo\""),
            "{error}"
        );
        let template = Output::parse(Some("go-template={{.a}}"), false).unwrap();
        assert_eq!(template.object(&json!({"a": [1, "b"]})).unwrap(), "[1 b]");
    }
}
