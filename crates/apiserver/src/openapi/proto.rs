//! Protobuf as the gnostic project lays it out for OpenAPI: what its messages have in common, so that each version is
//! a table of fields.
//!
//! Values are read from the JSON form by the names of its keys. Keys that a table does not name are left out, but for
//! extensions (`x-…`), which every message keeps.

use serde_json::{Map, Value};

/// A message being written.
#[derive(Debug, Default)]
pub(super) struct Message(pub(super) Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    /// A field of bytes.
    pub(super) fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.varint(u64::from(number) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// A field of text, left out where there is none.
    pub(super) fn text(&mut self, number: u32, value: &Value) {
        if let Some(text) = value.as_str() {
            self.bytes(number, text.as_bytes());
        }
    }

    /// A field that is a message.
    pub(super) fn message(&mut self, number: u32, message: &Message) {
        self.bytes(number, &message.0);
    }

    /// An entry of a map: name and value.
    pub(super) fn named(&mut self, number: u32, name: &str, value: &Message) {
        let mut entry = Message::default();
        entry.bytes(1, name.as_bytes());
        entry.message(2, value);
        self.message(number, &entry);
    }

    fn put(&mut self, number: u32, kind: Kind, value: &Value) {
        match kind {
            Kind::Text => self.text(number, value),
            Kind::Texts => list(value).iter().for_each(|item| self.text(number, item)),
            Kind::Bool => {
                if value == true {
                    self.varint(u64::from(number) << 3);
                    self.varint(1);
                }
            }
            Kind::Int => {
                if let Some(int) = value.as_i64().filter(|int| *int != 0) {
                    self.varint(u64::from(number) << 3);
                    self.varint(int.cast_unsigned());
                }
            }
            Kind::Double => {
                if let Some(double) = value.as_f64().filter(|double| *double != 0.0) {
                    self.varint(u64::from(number) << 3 | 1);
                    self.0.extend_from_slice(&double.to_le_bytes());
                }
            }
            Kind::Any => self.message(number, &any(value)),
            Kind::Anys => list(value).iter().for_each(|item| self.message(number, &any(item))),
            Kind::One(write) => self.message(number, &write(value)),
            Kind::Many(write) => list(value).iter().for_each(|item| self.message(number, &write(item))),
            Kind::Map(write) => self.message(number, &map(1, value, write)),
        }
    }
}

/// How a value is written.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Text,
    Texts,
    Bool,
    Int,
    Double,
    /// Any value, as text that a YAML reader understands.
    Any,
    Anys,
    One(fn(&Value) -> Message),
    Many(fn(&Value) -> Message),
    /// An object whose keys are names: a message of named entries.
    Map(fn(&Value) -> Message),
}

/// A message: its fields by key, number and kind, and the number of its extensions.
pub(super) struct Layout {
    pub(super) fields: &'static [(&'static str, u32, Kind)],
    pub(super) extensions: u32,
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// An `Any` that carries its value as YAML, of which JSON is a part.
fn any(value: &Value) -> Message {
    let mut any = Message::default();
    any.bytes(2, value.to_string().as_bytes());
    any
}

/// A message whose field `number` has the entries of an object.
pub(super) fn map(number: u32, value: &Value, write: fn(&Value) -> Message) -> Message {
    let mut out = Message::default();
    for (name, value) in value.as_object().into_iter().flatten() {
        out.named(number, name, &write(value));
    }
    out
}

/// Writes an object by its layout.
pub(super) fn fill(layout: &Layout, value: &Value) -> Message {
    let mut out = Message::default();
    let empty = Map::new();
    let object = value.as_object().unwrap_or(&empty);
    for (key, number, kind) in layout.fields {
        if let Some(value) = object.get(*key) {
            out.put(*number, *kind, value);
        }
    }
    for (name, value) in object.iter().filter(|(name, _)| name.starts_with("x-")) {
        out.named(layout.extensions, name, &any(value));
    }
    out
}

/// A message that is one field of another: gnostic's way to say "this or a reference".
pub(super) fn wrapped(number: u32, message: &Message) -> Message {
    let mut out = Message::default();
    out.message(number, message);
    out
}
