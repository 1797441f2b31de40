//! [`Node`]: reads the configuration files that flags name (audit policy, encryption, authentication,
//! authorization). Unknown fields and wrong types are refused, with the path of the field.
//!
//! Deliberately absent: what the files mean.

use serde_json::Value;
use std::time::Duration;

static NULL: Value = Value::Null;

/// A value of a file, and where it stands.
pub(crate) struct Node<'a> {
    /// The value; null when there is none.
    pub(crate) value: &'a Value,
    path: String,
}

/// Reads a file of this kind: YAML or JSON. The versions that are understood come with their group.
pub(crate) fn parse(bytes: &[u8], kind: &str, versions: &[&str]) -> Result<Value, String> {
    let decoded = machinery::codec::decode_any(bytes).map_err(|error| error.to_string())?;
    if let Some(duplicate) = decoded.duplicates.first() {
        return Err(format!("strict decoding error: {duplicate}"));
    }
    let value = decoded.value;
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
    if text("kind") != kind || !versions.contains(&text("apiVersion")) {
        return Err(format!(
            "it has apiVersion {:?} and kind {:?}; expected {} and {kind:?}",
            text("apiVersion"),
            text("kind"),
            versions.iter().map(|version| format!("{version:?}")).collect::<Vec<_>>().join(" or ")
        ));
    }
    Ok(value)
}

impl<'a> Node<'a> {
    /// The whole file, whose fields are `apiVersion`, `kind` and these.
    pub(crate) fn root(value: &'a Value, fields: &[&str]) -> Result<Self, String> {
        let node = Self { value, path: String::new() };
        let known = |key: &str| matches!(key, "apiVersion" | "kind" | "metadata") || fields.contains(&key);
        node.only(&known)?;
        Ok(node)
    }

    fn only(&self, known: &dyn Fn(&str) -> bool) -> Result<(), String> {
        match self.value {
            Value::Null => Ok(()),
            Value::Object(fields) => match fields.keys().find(|key| !known(key)) {
                None => Ok(()),
                Some(key) => Err(format!("strict decoding error: unknown field \"{}\"", self.at(key))),
            },
            _ => Err(self.bad("must be an object")),
        }
    }

    fn at(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// An error about this value.
    pub(crate) fn bad(&self, why: &str) -> String {
        format!("{}: {why}", self.path)
    }

    /// Whether there is a value.
    pub(crate) fn is_set(&self) -> bool {
        !self.value.is_null()
    }

    /// A field.
    pub(crate) fn get(&self, key: &str) -> Node<'a> {
        Node { value: self.value.get(key).unwrap_or(&NULL), path: self.at(key) }
    }

    /// A field that is an object of these fields.
    pub(crate) fn object(&self, key: &str, fields: &[&str]) -> Result<Node<'a>, String> {
        let node = self.get(key);
        node.only(&|key| fields.contains(&key))?;
        Ok(node)
    }

    /// The elements of a list, if there is one.
    pub(crate) fn items(&self) -> Result<Vec<Node<'a>>, String> {
        match self.value {
            Value::Null => Ok(Vec::new()),
            Value::Array(items) => Ok(items
                .iter()
                .enumerate()
                .map(|(at, value)| Node { value, path: format!("{}[{at}]", self.path) })
                .collect()),
            _ => Err(self.bad("must be a list")),
        }
    }

    /// The elements of a list of objects of these fields.
    pub(crate) fn objects(&self, fields: &[&str]) -> Result<Vec<Node<'a>>, String> {
        let items = self.items()?;
        for item in &items {
            item.only(&|key| fields.contains(&key))?;
        }
        Ok(items)
    }

    /// A text; empty when there is none.
    pub(crate) fn text(&self) -> Result<&'a str, String> {
        match self.value {
            Value::Null => Ok(""),
            Value::String(text) => Ok(text),
            _ => Err(self.bad("must be a string")),
        }
    }

    /// A text that must be there.
    pub(crate) fn required(&self) -> Result<&'a str, String> {
        match self.text()? {
            "" => Err(self.bad("Required value")),
            text => Ok(text),
        }
    }

    /// One of these texts.
    pub(crate) fn choice(&self, known: &[&str]) -> Result<&'a str, String> {
        let text = self.text()?;
        if known.contains(&text) {
            return Ok(text);
        }
        let known: Vec<String> = known.iter().filter(|k| !k.is_empty()).map(|k| format!("{k:?}")).collect();
        Err(self.bad(&format!("Unsupported value: {text:?}: supported values: {}", known.join(", "))))
    }

    /// A list of texts.
    pub(crate) fn texts(&self) -> Result<Vec<String>, String> {
        self.items()?.iter().map(|item| item.text().map(str::to_owned)).collect()
    }

    /// A flag, if there is one.
    pub(crate) fn flag(&self) -> Result<Option<bool>, String> {
        match self.value {
            Value::Null => Ok(None),
            Value::Bool(flag) => Ok(Some(*flag)),
            _ => Err(self.bad("must be true or false")),
        }
    }

    /// A duration as Go writes it (`1h30m`), if there is one.
    pub(crate) fn duration(&self) -> Result<Option<Duration>, String> {
        match self.value {
            Value::Null => Ok(None),
            Value::String(text) => match duration(text) {
                Some(duration) => Ok(Some(duration)),
                None => Err(self.bad(&format!("time: invalid duration {text:?}"))),
            },
            _ => Err(self.bad("must be a duration such as \"30s\"")),
        }
    }
}

/// A duration as Go writes it: `300ms`, `1.5h`, `2h45m`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut seconds = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        seconds += number
            * match &rest[..unit] {
                "ns" => 1e-9,
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_go_reads_them() {
        assert_eq!(duration("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(duration("0"), Some(Duration::ZERO));
        for bad in ["", "5", "m", "1x", "-1s", "1..5s"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn errors_name_the_field() {
        let value = parse(b"apiVersion: a/v1\nkind: K\nlist: [{x: 1}, {y: 2}]", "K", &["a/v1"]).unwrap();
        let root = Node::root(&value, &["list"]).unwrap();
        let error = root.get("list").objects(&["x"]).err().unwrap();
        assert_eq!(error, "strict decoding error: unknown field \"list[1].y\"");
        let items = root.get("list").items().unwrap();
        assert_eq!(items[0].get("x").text().unwrap_err(), "list[0].x: must be a string");
        assert!(parse(b"kind: K", "K", &["a/v1"]).is_err());
    }
}
