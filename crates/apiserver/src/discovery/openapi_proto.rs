//! OpenAPI v2 in protobuf (`openapi.v2.Document` of the gnostic project), which kubectl up to 1.28 insists on.
//!
//! What those clients read of it is written: info and definitions with their types, fields and extensions.
//! Deliberately absent: paths, which they do not read.

use serde_json::{Map, Value};

/// A message being written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
            value >>= 7;
        }
        self.0.push(u8::try_from(value).unwrap_or(0));
    }

    fn bytes(&mut self, number: u64, bytes: &[u8]) {
        self.varint(number << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, number: u64, value: Option<&Value>) {
        if let Some(text) = value.and_then(Value::as_str) {
            self.bytes(number, text.as_bytes());
        }
    }

    fn message(&mut self, number: u64, message: &Message) {
        self.bytes(number, &message.0);
    }

    /// An `Any` that carries its value as YAML; JSON is YAML.
    fn any(&mut self, number: u64, value: &Value) {
        let mut any = Message::default();
        any.bytes(2, value.to_string().as_bytes());
        self.message(number, &any);
    }
}

/// Named schemas (`Definitions` and `Properties` look the same).
fn schemas(map: &Map<String, Value>) -> Message {
    let mut all = Message::default();
    for (name, value) in map {
        let mut named = Message::default();
        named.bytes(1, name.as_bytes());
        named.message(2, &schema(value));
        all.message(1, &named);
    }
    all
}

fn schema(value: &Value) -> Message {
    let mut out = Message::default();
    let Some(fields) = value.as_object() else { return out };
    out.text(1, fields.get("$ref"));
    out.text(2, fields.get("format"));
    out.text(4, fields.get("description"));
    if let Some(default) = fields.get("default") {
        out.any(5, default);
    }
    for name in fields.get("required").and_then(Value::as_array).into_iter().flatten() {
        out.text(19, Some(name));
    }
    match fields.get("additionalProperties") {
        Some(Value::Bool(allowed)) => {
            let mut item = Message::default();
            item.varint(2 << 3);
            item.varint(u64::from(*allowed));
            out.message(21, &item);
        }
        Some(inner) => {
            let mut item = Message::default();
            item.message(1, &schema(inner));
            out.message(21, &item);
        }
        None => {}
    }
    if let Some(kind) = fields.get("type") {
        let mut item = Message::default();
        item.text(1, Some(kind));
        out.message(22, &item);
    }
    if let Some(inner) = fields.get("items") {
        let mut item = Message::default();
        item.message(1, &schema(inner));
        out.message(23, &item);
    }
    for inner in fields.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        out.message(24, &schema(inner));
    }
    if let Some(properties) = fields.get("properties").and_then(Value::as_object) {
        out.message(25, &schemas(properties));
    }
    for (name, extension) in fields.iter().filter(|(name, _)| name.starts_with("x-")) {
        let mut named = Message::default();
        named.bytes(1, name.as_bytes());
        named.any(2, extension);
        out.message(31, &named);
    }
    out
}

/// A swagger document in protobuf.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, document.get("swagger"));
    let mut info = Message::default();
    info.text(1, document.pointer("/info/title"));
    info.text(2, document.pointer("/info/version"));
    out.message(2, &info);
    out.message(8, &Message::default());
    if let Some(definitions) = document.get("definitions").and_then(Value::as_object) {
        out.message(9, &schemas(definitions));
    }
    out.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_small_document() {
        let document = json!({"swagger": "2.0", "definitions": {"A": {"type": "string", "x-k": 1}}});
        let schema = [
            &[0xb2, 1, 8, 0x0a, 6][..],
            b"string",
            &[0xfa, 1, 10, 0x0a, 3],
            b"x-k",
            &[0x12, 3, 0x12, 1],
            b"1",
        ];
        let schema = schema.concat();
        let named = [&[0x0a, 1][..], b"A", &[0x12, u8::try_from(schema.len()).unwrap()], &schema].concat();
        let all = [&[0x0a, u8::try_from(named.len()).unwrap()][..], &named].concat();
        let tail = [&[0x4a, u8::try_from(all.len()).unwrap()][..], &all].concat();
        let whole = [&[0x0a, 3][..], b"2.0", &[0x12, 0, 0x42, 0], &tail].concat();
        assert_eq!(encode(&document), whole);
    }
}
