//! JSON trees to protobuf, byte for byte as upstream's generated code writes it: fields by ascending number, whatever
//! is not a Go pointer even when it is zero, maps by sorted key.
//!
//! Deliberately absent: kinds that the table does not have (custom resources have no protobuf form), and discovery.

use super::MAGIC;
use super::wire::{bad, put_bytes, put_key, put_varint};
use crate::DecodeError;
use crate::schema::{FieldInfo, JSON_SCHEMA_PROPS, Node, Primitive, Type, TypeId, by_name, lookup, zero};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::jiff::Timestamp;
use machinery::{GroupVersion, GroupVersionKind, quantity};
use serde_json::{Map, Value};

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
const BYTES: u8 = 2;

/// Whether objects of a kind have a protobuf form.
pub fn supports(gvk: &GroupVersionKind) -> bool {
    lookup(gvk).is_some_and(|id| !id.wire_order().is_empty())
}

/// An object to protobuf in its envelope. Fails for kinds that the table does not have.
pub fn encode(object: &Value) -> Result<Vec<u8>, DecodeError> {
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let raw = encode_body(api_version, kind, object)?;
    let mut out = envelope_head(api_version, kind, raw.len());
    out.extend_from_slice(&raw);
    out.extend_from_slice(ENVELOPE_TAIL);
    Ok(out)
}

/// An object without its envelope.
pub fn encode_body(api_version: &str, kind: &str, object: &Value) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::new();
    let Value::Object(map) = object else { return Err(bad("the object is not a JSON object")) };
    let gv = GroupVersion::parse(api_version).ok_or_else(|| bad("the object has no apiVersion"))?;
    if gv.group == "meta.k8s.io" && kind.starts_with("PartialObjectMetadata") {
        partial(&gv.version, kind, map, &mut out)?;
        return Ok(out);
    }
    let gvk = GroupVersionKind { group: gv.group, version: gv.version, kind: kind.to_owned().into() };
    match lookup(&gvk) {
        Some(id) => struct_fields(id, map, &mut out)?,
        None if kind.ends_with("List") => list_of(&gvk, map, &mut out)?,
        None => return Err(no_form(&gvk)),
    }
    Ok(out)
}

fn no_form(gvk: &GroupVersionKind) -> DecodeError {
    DecodeError(format!(
        "object {gvk} does not implement the protobuf marshalling interface and cannot be encoded to a protobuf message"
    ))
}

/// What stands before the encoded object: magic, its kind, and its length.
pub fn envelope_head(api_version: &str, kind: &str, len: usize) -> Vec<u8> {
    let mut meta = Vec::with_capacity(api_version.len() + kind.len() + 4);
    put_bytes(&mut meta, 1, api_version.as_bytes());
    put_bytes(&mut meta, 2, kind.as_bytes());
    let mut out = Vec::with_capacity(meta.len() + len + 20);
    out.extend_from_slice(MAGIC);
    put_bytes(&mut out, 1, &meta);
    put_key(&mut out, 2, BYTES);
    put_varint(&mut out, len as u64);
    out
}

/// What stands behind it: no encoding and no media type of the contents.
pub const ENVELOPE_TAIL: &[u8] = b"\x1a\x00\x22\x00";

/// The metadata of a list as its field, for lists that are written piece by piece.
pub fn list_head(metadata: &Value) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::new();
    let id = by_name(LIST_META).ok_or_else(|| bad("no kind ListMeta is registered"))?;
    let empty = Map::new();
    nested(&mut out, 1, |out| struct_fields(id, metadata.as_object().unwrap_or(&empty), out))?;
    Ok(out)
}

/// One item of a list, as its field.
pub fn list_item(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 6);
    put_bytes(&mut out, 2, body);
    out
}

/// A watch event around an encoded object, with the length that goes before it in a stream.
pub fn watch_frame(kind: &str, object: &[u8]) -> Vec<u8> {
    let mut raw = Vec::with_capacity(object.len() + 6);
    put_bytes(&mut raw, 1, object);
    let mut out = vec![0; 4];
    out.reserve(raw.len() + kind.len() + 12);
    put_bytes(&mut out, 1, kind.as_bytes());
    put_bytes(&mut out, 2, &raw);
    let len = u32::try_from(out.len() - 4).unwrap_or(u32::MAX);
    out[..4].copy_from_slice(&len.to_be_bytes());
    out
}

/// Writes a message field; its length is put in front when it is known.
fn nested(
    out: &mut Vec<u8>,
    number: u16,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    put_key(out, number, BYTES);
    let start = out.len();
    out.push(0);
    write(out)?;
    let len = out.len() - start - 1;
    if let (Ok(len @ ..0x80), Some(byte)) = (u8::try_from(len), out.get_mut(start)) {
        *byte = len;
        return Ok(());
    }
    let mut prefix = Vec::with_capacity(5);
    put_varint(&mut prefix, len as u64);
    out.splice(start..=start, prefix);
    Ok(())
}

/// Metadata only. The two versions number the fields of their lists the other way round.
fn partial(
    version: &str,
    kind: &str,
    map: &Map<String, Value>,
    out: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    let id = |name| by_name(name).ok_or_else(|| bad("no kind ObjectMeta is registered"));
    let empty = Map::new();
    let metadata = |map: &Map<String, Value>, number, meta, out: &mut Vec<u8>| {
        let found = map.get("metadata").and_then(Value::as_object).unwrap_or(&empty);
        nested(out, number, |out| struct_fields(meta, found, out))
    };
    if !kind.ends_with("List") {
        return metadata(map, 1, id(OBJECT_META)?, out);
    }
    let items = |number, out: &mut Vec<u8>| -> Result<(), DecodeError> {
        for item in map.get("items").and_then(Value::as_array).into_iter().flatten() {
            let meta = id(OBJECT_META)?;
            let item = item.as_object().unwrap_or(&empty);
            nested(out, number, |out| metadata(item, 1, meta, out))?;
        }
        Ok(())
    };
    if version == "v1beta1" {
        items(1, out)?;
        return metadata(map, 2, id(LIST_META)?, out);
    }
    metadata(map, 1, id(LIST_META)?, out)?;
    items(2, out)
}

/// A list whose own kind is not in the table, of items whose kind is.
fn list_of(gvk: &GroupVersionKind, map: &Map<String, Value>, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let kind = gvk.kind.strip_suffix("List").unwrap_or_default().to_owned();
    let item = lookup(&GroupVersionKind { kind: kind.into(), ..gvk.clone() }).ok_or_else(|| no_form(gvk))?;
    out.extend(list_head(map.get("metadata").unwrap_or(&Value::Null))?);
    for found in map.get("items").and_then(Value::as_array).into_iter().flatten() {
        let Value::Object(found) = found else { return Err(bad("an item is not a JSON object")) };
        nested(out, 2, |out| struct_fields(item, found, out))?;
    }
    Ok(())
}

fn struct_fields(id: TypeId, map: &Map<String, Value>, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    group(id.fields(), id.wire_order(), 0, map, out)
}

/// The fields of a message, or of one inlined `depth` messages deep: those share the numbers up to there.
fn group(
    fields: &'static [FieldInfo],
    order: &[u32],
    depth: usize,
    map: &Map<String, Value>,
    out: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    let mut rest = order;
    while let Some(field) = rest.first().and_then(|at| fields.get(*at as usize)) {
        let number = field.proto[depth];
        if field.proto.len() == depth + 1 {
            put_field(field, number, map.get(field.name), out)?;
            rest = &rest[1..];
            continue;
        }
        let same = rest.iter().take_while(|at| fields[**at as usize].proto[depth] == number).count();
        let (inlined, after) = rest.split_at(same);
        nested(out, number, |out| group(fields, inlined, depth + 1, map, out))?;
        rest = after;
    }
    Ok(())
}

fn put_field(
    field: &FieldInfo,
    number: u16,
    found: Option<&Value>,
    out: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    let inside = |error: DecodeError| DecodeError(format!("{}: {error}", field.name));
    let wrong = || inside(bad("a value has another type"));
    match (field.node.ty(), found.filter(|value| !value.is_null())) {
        (Type::List { element, .. }, Some(Value::Array(items))) => {
            for item in items {
                put_value(*element, number, item, out).map_err(inside)?;
            }
            Ok(())
        }
        (Type::Map { element, .. }, Some(Value::Object(entries))) => {
            let mut sorted: Vec<(&String, &Value)> = entries.iter().collect();
            sorted.sort_by_key(|(key, _)| *key);
            for (key, value) in sorted {
                nested(out, number, |out| {
                    put_bytes(out, 1, key.as_bytes());
                    put_value(*element, 2, value, out)
                })
                .map_err(inside)?;
            }
            Ok(())
        }
        (Type::List { .. } | Type::Map { .. }, None) => Ok(()),
        (Type::List { .. } | Type::Map { .. }, Some(_)) => Err(wrong()),
        (_, Some(value)) => put_value(field.node, number, value, out).map_err(inside),
        (_, None) if field.pointer => Ok(()),
        // A nil slice is not written, though its type is no pointer.
        (Type::Primitive(Primitive::Bytes), None) => Ok(()),
        (_, None) => put_value(field.node, number, &zero(field.node), out),
    }
}

fn put_value(node: Node, number: u16, value: &Value, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let wrong = || bad("a value has another type");
    match (node.ty(), value) {
        (Type::Primitive(primitive), value) => scalar(*primitive, number, value, out),
        (Type::Struct { id, .. }, Value::Object(map)) => {
            nested(out, number, |out| struct_fields(*id, map, out))
        }
        (Type::Struct { id, .. }, Value::Null) => {
            nested(out, number, |out| struct_fields(*id, &Map::new(), out))
        }
        // A list that is a map's value is a message of its own (`ExtraValue`): its items are field 1.
        (Type::List { element, .. }, Value::Array(items)) => {
            nested(out, number, |out| items.iter().try_for_each(|item| put_value(*element, 1, item, out)))
        }
        (Type::List { .. }, Value::Null) => nested(out, number, |_| Ok(())),
        _ => Err(wrong()),
    }
}

fn number_of(value: &Value) -> Option<u64> {
    match value {
        Value::Null => Some(0),
        // Negative numbers are written as 64 bits in two's complement, whatever their type.
        Value::Number(number) => number.as_i64().map(i64::cast_unsigned).or_else(|| number.as_u64()),
        _ => None,
    }
}

fn scalar(primitive: Primitive, number: u16, value: &Value, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let wrong = || bad("a value has another type");
    let text = || match value {
        Value::String(text) => Ok(text.as_str()),
        Value::Null => Ok(""),
        _ => Err(wrong()),
    };
    match primitive {
        Primitive::String => put_bytes(out, number, text()?.as_bytes()),
        Primitive::Bytes => {
            put_bytes(out, number, &STANDARD.decode(text()?).map_err(|_| wrong())?);
        }
        Primitive::Bool => {
            put_key(out, number, 0);
            out.push(u8::from(value.as_bool().unwrap_or_default()));
        }
        Primitive::Int32 | Primitive::Int64 => {
            put_key(out, number, 0);
            put_varint(out, number_of(value).ok_or_else(wrong)?);
        }
        Primitive::Double => {
            put_key(out, number, 1);
            out.extend_from_slice(&value.as_f64().unwrap_or_default().to_bits().to_le_bytes());
        }
        Primitive::Quantity => {
            let found = match value {
                Value::Number(number) => number.to_string(),
                _ => text()?.to_owned(),
            };
            let found = quantity::canonical(&found).unwrap_or(found);
            nested(out, number, |out| {
                put_bytes(out, 1, found.as_bytes());
                Ok(())
            })?;
        }
        Primitive::IntOrString => nested(out, number, |out| int_or_string(value, out))?,
        Primitive::Time | Primitive::MicroTime => {
            let found = text()?;
            nested(out, number, |out| time(primitive, found, out))?;
        }
        Primitive::Raw | Primitive::Fields | Primitive::Json => nested(out, number, |out| {
            if !value.is_null() {
                put_bytes(out, 1, value.to_string().as_bytes());
            }
            Ok(())
        })?,
        Primitive::SchemaOrArray | Primitive::SchemaOrBool | Primitive::SchemaOrStrings => {
            nested(out, number, |out| schema_or(primitive, value, out))?;
        }
    }
    Ok(())
}

fn int_or_string(value: &Value, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let (is_string, number, text) = match value {
        Value::String(text) => (1, 0, text.as_str()),
        other => (0, number_of(other).ok_or_else(|| bad("neither a number nor a string"))?, ""),
    };
    put_key(out, 1, 0);
    put_varint(out, is_string);
    put_key(out, 2, 0);
    put_varint(out, number);
    put_bytes(out, 3, text.as_bytes());
    Ok(())
}

/// No time at all is an empty message; times have seconds only.
fn time(primitive: Primitive, text: &str, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    if text.is_empty() {
        return Ok(());
    }
    let at: Timestamp = text.parse().map_err(|_| bad("not a time"))?;
    // The part of a second counts from the second before, also before 1970.
    let nanos = i64::from(at.subsec_nanosecond()).rem_euclid(1_000_000_000);
    let seconds = if at.subsec_nanosecond() < 0 { at.as_second() - 1 } else { at.as_second() };
    let nanos = if primitive == Primitive::MicroTime { nanos - nanos % 1000 } else { 0 };
    put_key(out, 1, 0);
    put_varint(out, seconds.cast_unsigned());
    put_key(out, 2, 0);
    put_varint(out, nanos.cast_unsigned());
    Ok(())
}

fn schema_or(primitive: Primitive, value: &Value, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let id = by_name(JSON_SCHEMA_PROPS).ok_or_else(|| bad("no kind JSONSchemaProps is registered"))?;
    let schema = |map: &Map<String, Value>, number, out: &mut Vec<u8>| {
        nested(out, number, |out| struct_fields(id, map, out))
    };
    match (primitive, value) {
        (Primitive::SchemaOrBool, Value::Bool(allows)) => out.extend_from_slice(&[8, u8::from(*allows)]),
        (Primitive::SchemaOrBool, Value::Object(map)) => {
            out.extend_from_slice(&[8, 1]);
            schema(map, 2, out)?;
        }
        (_, Value::Object(map)) => schema(map, 1, out)?,
        (Primitive::SchemaOrArray, Value::Array(items)) => {
            for map in items.iter().filter_map(Value::as_object) {
                schema(map, 2, out)?;
            }
        }
        (Primitive::SchemaOrStrings, Value::Array(items)) => {
            for text in items.iter().filter_map(Value::as_str) {
                put_bytes(out, 2, text.as_bytes());
            }
        }
        _ => return Err(bad("a schema has another type")),
    }
    Ok(())
}
