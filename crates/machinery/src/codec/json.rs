//! JSON to trees. Depth is bounded by serde_json (128 levels); the body's size by the caller.

use super::{CodecError, Decoded};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// Most strict errors that are collected; upstream stops there too.
pub const STRICT_MAX: usize = 100;

/// Decodes one JSON document; trailing text is an error. Duplicate keys are looked for in the same pass, and
/// their paths only computed (in a second one) when there are any.
pub fn decode(bytes: &[u8]) -> Result<Decoded, CodecError> {
    let mut state = State::default();
    let value = parse(bytes, &mut state)?;
    let mut duplicates = Vec::new();
    if state.found {
        let mut state = State { paths: Some(Vec::new()), ..State::default() };
        parse(bytes, &mut state)?;
        duplicates = state.duplicates;
    }
    Ok(Decoded { value, duplicates })
}

/// Decodes one JSON document and does not look for duplicate keys.
pub fn decode_lenient(bytes: &[u8]) -> Result<Value, CodecError> {
    serde_json::from_slice(bytes).map_err(|error| CodecError(error.to_string()))
}

fn parse(bytes: &[u8], state: &mut State) -> Result<Value, CodecError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    Tree(state)
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| CodecError(error.to_string()))
}

#[derive(Default)]
struct State {
    found: bool,
    /// The keys and indexes above the current value, printed; `None` in the first pass.
    paths: Option<Vec<String>>,
    duplicates: Vec<String>,
}

impl State {
    fn enter(&mut self, segment: impl FnOnce() -> String) {
        if let Some(path) = &mut self.paths {
            path.push(segment());
        }
    }

    fn leave(&mut self) {
        if let Some(path) = &mut self.paths {
            path.pop();
        }
    }

    /// Notes that the current path occurs twice.
    fn duplicate(&mut self) {
        self.found = true;
        if let Some(path) = &self.paths
            && self.duplicates.len() < STRICT_MAX
        {
            let text = path.concat();
            let text = format!("duplicate field {:?}", text.strip_prefix('.').unwrap_or(&text));
            if !self.duplicates.contains(&text) {
                self.duplicates.push(text);
            }
        }
    }
}

struct Tree<'s>(&'s mut State);

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            self.0.enter(|| format!("[{}]", list.len()));
            let item = items.next_element_seed(Tree(&mut *self.0))?;
            self.0.leave();
            match item {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            self.0.enter(|| format!(".{key}"));
            let value = entries.next_value_seed(Tree(&mut *self.0))?;
            if map.insert(key, value).is_some() {
                self.0.duplicate();
            }
            self.0.leave();
        }
        Ok(Value::Object(map))
    }
}

/// Refuses anything but an object, in upstream's words for a body that is not one.
pub fn expect_object(value: Value) -> Result<Map<String, Value>, CodecError> {
    let found = match value {
        Value::Object(map) => return Ok(map),
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
    };
    let error = serde_json::Error::custom(format!(
        "json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"
    ));
    Err(CodecError(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn finds_duplicates_and_keeps_the_last() {
        let text = r#"{"a":1,"s":{"l":[{"x":1,"x":2},{"y":1,"y":1,"y":3}]},"a":{"b":1}}"#;
        let decoded = decode(text.as_bytes()).unwrap();
        assert_eq!(
            decoded.duplicates,
            [r#"duplicate field "s.l[0].x""#, r#"duplicate field "s.l[1].y""#, r#"duplicate field "a""#]
        );
        assert_eq!(decoded.value, serde_json::json!({"a": {"b": 1}, "s": {"l": [{"x": 2}, {"y": 3}]}}));
    }

    #[test]
    fn refuses_depth_and_rubbish() {
        assert!(decode("[".repeat(100_000).as_bytes()).is_err());
        assert!(decode(b"{} {}").is_err());
        assert!(decode(b"\xff").is_err());
        assert!(decode(b"").is_err());
    }

    proptest! {
        #[test]
        fn agrees_with_serde(text in "[\\[\\]{}:,\"a0.\\-e ]{0,24}") {
            prop_assert_eq!(
                decode(text.as_bytes()).ok().map(|d| d.value),
                serde_json::from_str::<Value>(&text).ok()
            );
        }
    }
}
