//! Protobuf to JSON trees.
//!
//! Upstream's encoder writes every field that is not a Go pointer, even when it is empty, and JSON has no such
//! fields: zeros that Go would leave out of JSON are left out here.

use super::MAGIC;
use super::wire::{Fields, Wire, bad};
use crate::DecodeError;
use crate::schema::{
    FieldInfo, JSON_SCHEMA_PROPS, Node, Primitive, Type, TypeId, by_name, is_unset, lookup, zero,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::jiff::Timestamp;
use machinery::{GroupVersion, GroupVersionKind};
use serde_json::{Map, Value, json};

/// Levels of messages and values; schemas of custom resources nest deepest.
const DEPTH: usize = 256;

/// An object in its envelope to a JSON tree. Fails for kinds that the table does not have.
pub fn decode(bytes: &[u8]) -> Result<Value, DecodeError> {
    let body =
        bytes.strip_prefix(MAGIC).ok_or_else(|| bad("the object does not start with the expected prefix"))?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for field in Fields(body) {
        match field? {
            (1, Wire::Bytes(meta)) => {
                for field in Fields(meta) {
                    match field? {
                        (1, Wire::Bytes(text)) => api_version = string(text)?,
                        (2, Wire::Bytes(text)) => kind = string(text)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(found)) => raw = found,
            _ => {}
        }
    }
    let gv = GroupVersion::parse(&api_version).ok_or_else(|| bad("the object has no apiVersion"))?;
    let gvk = GroupVersionKind { group: gv.group, version: gv.version, kind: kind.clone().into() };
    let ty = lookup(&gvk)
        .ok_or_else(|| bad(&format!("no kind {kind:?} is registered for version {api_version:?}")))?;
    let mut object = Map::new();
    object.insert("apiVersion".to_owned(), Value::String(api_version));
    object.insert("kind".to_owned(), Value::String(kind));
    message(ty, raw, &mut object, DEPTH)?;
    Ok(Value::Object(object))
}

fn string(bytes: &[u8]) -> Result<String, DecodeError> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| bad("string is not UTF-8"))
}

/// Reads a message into `into`.
fn message(ty: TypeId, bytes: &[u8], into: &mut Map<String, Value>, depth: usize) -> Result<(), DecodeError> {
    inlined(ty.fields(), ty.wire_order(), 0, bytes, into, depth)
}

/// Reads a message, or one that is inlined `level` messages deep: `order` are the fields that share the numbers up to
/// there.
fn inlined(
    fields: &'static [FieldInfo],
    order: &[u32],
    level: usize,
    bytes: &[u8],
    into: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), DecodeError> {
    let depth = depth.checked_sub(1).ok_or_else(|| bad("nested too deep"))?;
    let number_at = |at: &u32| fields[*at as usize].proto[level];
    for field in Fields(bytes) {
        let (number, wire) = field?;
        let Ok(number) = u16::try_from(number) else { continue };
        let start = order.partition_point(|at| number_at(at) < number);
        let end = start + order[start..].iter().take_while(|at| number_at(at) == number).count();
        let Some(field) = order[start..end].first().map(|at| &fields[*at as usize]) else { continue };
        if field.proto.len() == level + 1 {
            add(field, wire, into, depth)?;
        } else if let Wire::Bytes(inner) = wire {
            inlined(fields, &order[start..end], level + 1, inner, into, depth)?;
        }
    }
    Ok(())
}

fn add(
    field: &FieldInfo,
    wire: Wire<'_>,
    into: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), DecodeError> {
    match field.node.ty() {
        Type::List { element, .. } => {
            let list = into.entry(field.name).or_insert_with(|| Value::Array(Vec::new()));
            let Value::Array(list) = list else { return Ok(()) };
            list.push(value(*element, wire, depth)?.unwrap_or(Value::Null));
        }
        Type::Map { element, .. } => {
            let map = into.entry(field.name).or_insert_with(|| Value::Object(Map::new()));
            let (Value::Object(map), Wire::Bytes(entry)) = (map, wire) else { return Ok(()) };
            let (mut key, mut found) = (String::new(), None);
            for part in Fields(entry) {
                match part? {
                    (1, Wire::Bytes(text)) => key = string(text)?,
                    (2, wire) => found = value(*element, wire, depth)?,
                    _ => {}
                }
            }
            map.insert(key, found.unwrap_or_else(|| zero(*element)));
        }
        _ => {
            if let Some(value) = value(field.node, wire, depth)?
                && !is_unset(field, &value)
            {
                into.insert(field.name.to_owned(), value);
            }
        }
    }
    Ok(())
}

fn value(node: Node, wire: Wire<'_>, depth: usize) -> Result<Option<Value>, DecodeError> {
    let depth = depth.checked_sub(1).ok_or_else(|| bad("nested too deep"))?;
    match (node.ty(), wire) {
        (Type::Primitive(primitive), wire) => scalar(*primitive, wire, depth),
        (Type::Struct { id, .. }, Wire::Bytes(bytes)) => {
            let mut object = Map::new();
            message(*id, bytes, &mut object, depth)?;
            Ok(Some(Value::Object(object)))
        }
        // A list that is a map's value is a message of its own (`ExtraValue`): its items are field 1.
        (Type::List { element, .. }, Wire::Bytes(bytes)) => {
            let mut list = Vec::new();
            for field in Fields(bytes) {
                if let (1, wire) = field? {
                    list.extend(value(*element, wire, depth)?);
                }
            }
            Ok(Some(Value::Array(list)))
        }
        _ => Err(bad("wrong wireType")),
    }
}

fn scalar(primitive: Primitive, wire: Wire<'_>, depth: usize) -> Result<Option<Value>, DecodeError> {
    let value = match (primitive, wire) {
        (Primitive::String, Wire::Bytes(bytes)) => Value::String(string(bytes)?),
        (Primitive::Bytes, Wire::Bytes(bytes)) => Value::String(STANDARD.encode(bytes)),
        (Primitive::Bool, Wire::Varint(n)) => Value::Bool(n != 0),
        // Negative numbers are written as 64 bits in two's complement, whatever their type.
        (Primitive::Int32 | Primitive::Int64, Wire::Varint(n)) => json!(n.cast_signed()),
        (Primitive::Double, Wire::Fixed64(n)) => json!(f64::from_bits(n)),
        (Primitive::Quantity, Wire::Bytes(bytes)) => {
            Value::String(string(bytes_of(bytes, 1)?.unwrap_or_default())?)
        }
        (Primitive::IntOrString, Wire::Bytes(bytes)) => int_or_string(bytes)?,
        (Primitive::Time | Primitive::MicroTime, Wire::Bytes(bytes)) => return time(primitive, bytes),
        (Primitive::Raw | Primitive::Fields | Primitive::Json, Wire::Bytes(bytes)) => {
            return match bytes_of(bytes, 1)?.filter(|raw| !raw.is_empty()) {
                Some(raw) => Ok(Some(serde_json::from_slice(raw)?)),
                None => Ok(None),
            };
        }
        (
            Primitive::SchemaOrArray | Primitive::SchemaOrBool | Primitive::SchemaOrStrings,
            Wire::Bytes(bytes),
        ) => schema_or(primitive, bytes, depth)?,
        _ => return Err(bad("wrong wireType")),
    };
    Ok(Some(value))
}

/// The last bytes field of a number.
fn bytes_of(message: &[u8], wanted: u32) -> Result<Option<&[u8]>, DecodeError> {
    let mut found = None;
    for field in Fields(message) {
        if let (number, Wire::Bytes(bytes)) = field?
            && number == wanted
        {
            found = Some(bytes);
        }
    }
    Ok(found)
}

fn int_or_string(bytes: &[u8]) -> Result<Value, DecodeError> {
    let (mut is_string, mut number, mut text) = (false, 0, String::new());
    for field in Fields(bytes) {
        match field? {
            (1, Wire::Varint(n)) => is_string = n == 1,
            (2, Wire::Varint(n)) => number = n.cast_signed(),
            (3, Wire::Bytes(bytes)) => text = string(bytes)?,
            _ => {}
        }
    }
    Ok(if is_string { Value::String(text) } else { json!(number) })
}

/// An empty message is no time at all.
fn time(primitive: Primitive, bytes: &[u8]) -> Result<Option<Value>, DecodeError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let (mut seconds, mut nanos) = (0, 0);
    for field in Fields(bytes) {
        match field? {
            (1, Wire::Varint(n)) => seconds = n.cast_signed(),
            (2, Wire::Varint(n)) => nanos = i32::try_from(n.cast_signed()).unwrap_or(0),
            _ => {}
        }
    }
    let micro = primitive == Primitive::MicroTime;
    let at = Timestamp::new(seconds, if micro { nanos } else { 0 }).map_err(|_| bad("time out of range"))?;
    Ok(Some(Value::String(if micro { format!("{at:.6}") } else { format!("{at:.0}") })))
}

fn schema_or(primitive: Primitive, bytes: &[u8], depth: usize) -> Result<Value, DecodeError> {
    let schema = by_name(JSON_SCHEMA_PROPS).ok_or_else(|| bad("no kind JSONSchemaProps is registered"))?;
    let props = |bytes: &[u8]| -> Result<Value, DecodeError> {
        let mut object = Map::new();
        message(schema, bytes, &mut object, depth)?;
        Ok(Value::Object(object))
    };
    let (mut one, mut many, mut allows) = (None, Vec::new(), false);
    for field in Fields(bytes) {
        match (primitive, field?) {
            (Primitive::SchemaOrBool, (1, Wire::Varint(n))) => allows = n != 0,
            (Primitive::SchemaOrBool, (2, Wire::Bytes(bytes)))
            | (Primitive::SchemaOrArray | Primitive::SchemaOrStrings, (1, Wire::Bytes(bytes))) => {
                one = Some(props(bytes)?);
            }
            (Primitive::SchemaOrArray, (2, Wire::Bytes(bytes))) => many.push(props(bytes)?),
            (Primitive::SchemaOrStrings, (2, Wire::Bytes(bytes))) => many.push(Value::String(string(bytes)?)),
            _ => {}
        }
    }
    Ok(match (primitive, one) {
        (_, Some(schema)) => schema,
        (Primitive::SchemaOrBool, None) => Value::Bool(allows),
        (_, None) => Value::Array(many),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
        out.extend_from_slice(bytes);
        out
    }

    fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), field(1, &meta), field(2, raw)].concat()
    }

    #[test]
    fn a_config_map_reads_as_its_json() {
        let metadata = [field(1, b"a"), field(2, b""), field(3, b"default"), field(8, b"")].concat();
        let data = [field(1, b"k"), field(2, b"v")].concat();
        let raw = [field(1, &metadata), field(2, &data)].concat();
        assert_eq!(
            decode(&envelope("v1", "ConfigMap", &raw)).unwrap(),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "default"},
                "data": {"k": "v"}})
        );
    }

    #[test]
    fn inlined_messages_are_flattened() {
        let empty_dir = field(2, &[]);
        let volume = [field(1, b"tmp"), field(2, &empty_dir)].concat();
        let raw = field(2, &field(1, &volume));
        let pod = decode(&envelope("v1", "Pod", &raw)).unwrap();
        assert_eq!(pod["spec"]["volumes"], json!([{"name": "tmp", "emptyDir": {}}]));
    }

    #[test]
    fn damage_is_an_error() {
        assert!(decode(b"").is_err());
        assert!(decode(b"k8s\0\x0a\xff").is_err());
        assert!(decode(&envelope("v1", "Nope", &[])).is_err());
        assert!(decode(&envelope("v1", "Pod", &[0x12, 0x05])).is_err());
    }
}
