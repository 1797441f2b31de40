//! Every built-in kind there and back, filled at random from a seed; and bytes worked out by hand.

use super::{MAGIC, decode, encode, watch_frame};
use crate::ResourceTable;
use crate::schema::{JSON_SCHEMA_PROPS, Node, Primitive, Type, TypeId, by_name, canonicalize, lookup};
use serde_json::{Map, Value, json};

/// A small generator: the same values for the same seed everywhere.
struct Fill(u64);

impl Fill {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    fn text(&mut self) -> String {
        ["", "a", "web-0", "ü\u{1f600}", "two words", "x".repeat(200).as_str()]
            [usize::try_from(self.next(6)).unwrap()]
        .to_owned()
    }

    fn object(&mut self, id: TypeId, depth: usize) -> Value {
        let mut map = Map::new();
        for field in id.fields() {
            let wanted = field.required || self.next(10) < 6;
            // `schemaOr…` and nested schemas would go on for ever.
            if !field.proto.is_empty() && wanted && (depth > 0 || !is_deep(field.node)) {
                map.insert(field.name.to_owned(), self.value(field.node, depth));
            }
        }
        Value::Object(map)
    }

    fn value(&mut self, node: Node, depth: usize) -> Value {
        let below = depth.saturating_sub(1);
        match node.ty() {
            Type::Struct { id, .. } => self.object(*id, below),
            Type::List { element, .. } => (0..self.next(3)).map(|_| self.value(*element, below)).collect(),
            Type::Map { element, .. } => {
                let keys = ["", "b", "a.b/c"].iter().take(usize::try_from(self.next(4)).unwrap());
                Value::Object(keys.map(|key| ((*key).to_owned(), self.value(*element, below))).collect())
            }
            Type::Primitive(primitive) => self.scalar(*primitive, below),
        }
    }

    fn scalar(&mut self, primitive: Primitive, depth: usize) -> Value {
        let pick = usize::try_from(self.next(3)).unwrap();
        let schema = |fill: &mut Self| fill.object(by_name(JSON_SCHEMA_PROPS).unwrap(), depth);
        match primitive {
            Primitive::String => json!(self.text()),
            Primitive::Bool => json!(pick == 0),
            Primitive::Int32 => json!([0, -1, i32::MAX][pick]),
            Primitive::Int64 => json!([0, i64::MIN, i64::MAX][pick]),
            Primitive::Double => json!([0.0, -1.5, 1e300][pick]),
            Primitive::Bytes => json!(["", "AA==", "/+8="][pick]),
            Primitive::Quantity => json!(["0", "100m", "1536Mi"][pick]),
            Primitive::IntOrString => [json!(-1), json!("50%"), json!("")][pick].clone(),
            Primitive::Time => {
                json!(["1969-12-31T23:59:59Z", "2026-11-20T10:00:00Z", "9000-12-31T00:00:00Z"][pick])
            }
            Primitive::MicroTime => {
                json!(
                    [
                        "1969-12-31T23:59:59.999999Z",
                        "2026-11-20T10:00:00.000001Z",
                        "1970-01-01T00:00:00.000000Z"
                    ][pick]
                )
            }
            Primitive::Raw => {
                [json!({"a": [1, null]}), json!({}), json!({"apiVersion": "v1", "kind": "Pod"})][pick].clone()
            }
            Primitive::Fields => json!({"f:metadata": {"f:name": {}}}),
            Primitive::Json => [json!(false), json!("x"), json!([0])][pick].clone(),
            Primitive::SchemaOrArray if pick == 0 => json!([schema(self), schema(self)]),
            Primitive::SchemaOrBool if pick == 0 => json!(true),
            Primitive::SchemaOrStrings if pick == 0 => json!(["a", ""]),
            _ => schema(self),
        }
    }
}

fn is_deep(node: Node) -> bool {
    match node.ty() {
        Type::Struct { .. } => true,
        Type::List { element, .. } | Type::Map { element, .. } => is_deep(*element),
        Type::Primitive(p) => {
            matches!(p, Primitive::SchemaOrArray | Primitive::SchemaOrBool | Primitive::SchemaOrStrings)
        }
    }
}

/// Whether `large` says all that `small` says, and nothing more but values that are zero.
fn adds_only_zeros(small: &Value, large: &Value) -> Result<(), String> {
    match (small, large) {
        (Value::Object(small), Value::Object(large)) => {
            // Protobuf has no empty lists, not even where they are required; upstream shows `null` then.
            for (key, value) in small.iter().filter(|(_, value)| **value != json!([]) && **value != json!({}))
            {
                let found = large.get(key).ok_or_else(|| format!("{key} is lost"))?;
                adds_only_zeros(value, found).map_err(|error| format!("{key}.{error}"))?;
            }
            let added = large.iter().filter(|(key, _)| !small.contains_key(*key));
            added.into_iter().try_for_each(|(key, value)| match is_zero(value) {
                true => Ok(()),
                false => Err(format!("{key} is new: {value}")),
            })
        }
        (Value::Array(small), Value::Array(large)) if small.len() == large.len() => {
            small.iter().zip(large).try_for_each(|(small, large)| adds_only_zeros(small, large))
        }
        (small, large) if small == large => Ok(()),
        // In JSON both are the number.
        (small, large) if small.as_f64().is_some() && small.as_f64() == large.as_f64() => Ok(()),
        (small, large) => Err(format!(" {small} became {large}")),
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.values().all(is_zero),
        Value::String(text) => text.is_empty() || text == "0",
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Bool(flag) => !flag,
        Value::Array(_) | Value::Null => false,
    }
}

#[test]
fn every_kind_survives_the_way_there_and_back() {
    let mut seen = 0;
    for row in ResourceTable::shared().rows() {
        let id = lookup(&row.gvk).unwrap_or_else(|| panic!("{row:?}"));
        for seed in 0..6 {
            let mut object = Fill(seed).object(id, 9);
            object["apiVersion"] = json!(row.gvk.api_version());
            object["kind"] = json!(row.gvk.kind);
            let bytes = encode(&object).unwrap_or_else(|error| panic!("{row:?}: {error}"));
            let back = decode(&bytes).unwrap_or_else(|error| panic!("{row:?}: {error}"));
            let mut canonical = object;
            canonicalize(&row.gvk, &mut canonical);
            if let Err(error) = adds_only_zeros(&canonical, &back) {
                panic!("{row:?}, seed {seed}: {error}\n{canonical}\n{back}");
            }
            let again = encode(&back).unwrap();
            assert!(again == encode(&canonical).unwrap(), "{row:?}, seed {seed}: {canonical}\n{back}");
            assert!(decode(&again).unwrap() == back, "{row:?}, seed {seed}: {back}");
            seen += 1;
        }
    }
    assert!(seen > 300);
}

#[test]
fn damaged_bytes_never_do_harm() {
    let mut fill = Fill(7);
    for row in ResourceTable::shared().rows() {
        let mut object = fill.object(lookup(&row.gvk).unwrap(), 8);
        object["apiVersion"] = json!(row.gvk.api_version());
        object["kind"] = json!(row.gvk.kind);
        let bytes = encode(&object).unwrap();
        for _ in 0..8 {
            let mut damaged = bytes.clone();
            let at = usize::try_from(fill.next(damaged.len() as u64)).unwrap();
            damaged[at] = u8::try_from(fill.next(256)).unwrap();
            let _ = decode(&damaged);
            damaged.truncate(at);
            let _ = decode(&damaged);
        }
    }
}

/// Written as the wire has it: `12 "name"` is key 0x12, a length and the text; numbers are hexadecimal.
fn wire(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for word in text.split_whitespace() {
        match word.strip_prefix('"').and_then(|word| word.strip_suffix('"')) {
            Some(text) => {
                out.push(u8::try_from(text.len()).unwrap());
                out.extend_from_slice(text.as_bytes());
            }
            None => out.push(u8::from_str_radix(word, 16).unwrap()),
        }
    }
    out
}

/// A message field: key, length, contents.
fn message(key: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    let body = parts.concat();
    let mut out = vec![key];
    let len = body.len();
    if len >= 0x80 {
        out.push(u8::try_from(len & 0x7f).unwrap() | 0x80);
        out.push(u8::try_from(len >> 7).unwrap());
    } else {
        out.push(u8::try_from(len).unwrap());
    }
    [out, body].concat()
}

fn envelope(api_version: &str, kind: &str, parts: &[Vec<u8>]) -> Vec<u8> {
    let meta = message(0x0a, &[wire(&format!("0a \"{api_version}\" 12 \"{kind}\""))]);
    [MAGIC.to_vec(), meta, message(0x12, parts), wire("1a 00 22 00")].concat()
}

/// name 1, generateName 2, namespace 3, selfLink 4, uid 5, resourceVersion 6, generation 7, creationTimestamp 8.
fn metadata(name: &str) -> Vec<u8> {
    message(0x0a, &[wire(&format!("0a \"{name}\" 12 \"\" 1a \"\" 22 \"\" 2a \"\" 32 \"\" 38 00 42 00"))])
}

#[test]
fn a_config_map_is_what_upstream_writes() {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"},
        "data": {"z": "1", "b": ""}, "binaryData": {"k": "AP8="}, "immutable": false});
    let expected = envelope(
        "v1",
        "ConfigMap",
        &[
            metadata("a"),
            wire("12 05 0a \"b\" 12 \"\""),
            wire("12 06 0a \"z\" 12 \"1\""),
            wire("1a 07 0a \"k\" 12 02 00 ff"),
            // A pointer that is set is written, though false.
            wire("20 00"),
        ],
    );
    assert_eq!(encode(&object).unwrap(), expected);
}

#[test]
fn a_lease_has_pointers_and_micro_times() {
    let object = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"},
        "spec": {"holderIdentity": "", "leaseDurationSeconds": 15, "renewTime": "1970-01-01T00:00:01.000002Z"}});
    let expected = envelope(
        "coordination.k8s.io/v1",
        "Lease",
        &[
            metadata("l"),
            // 2000 nanoseconds are d0 0f.
            message(0x12, &[wire("0a \"\" 10 0f 22 05 08 01 10 d0 0f")]),
        ],
    );
    assert_eq!(encode(&object).unwrap(), expected);
}

#[test]
fn a_disruption_budget_has_numbers_or_strings_and_zero_counts() {
    let object = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "p"},
        "spec": {"minAvailable": "50%", "maxUnavailable": 1}});
    let expected = envelope(
        "policy/v1",
        "PodDisruptionBudget",
        &[
            metadata("p"),
            message(0x12, &[wire("0a 09 08 01 10 00 1a \"50%\""), wire("1a 06 08 00 10 01 1a \"\"")]),
            // observedGeneration 1, disruptionsAllowed 3, currentHealthy 4, desiredHealthy 5, expectedPods 6.
            wire("1a 0a 08 00 18 00 20 00 28 00 30 00"),
        ],
    );
    assert_eq!(encode(&object).unwrap(), expected);
}

#[test]
fn inlined_messages_are_written_even_when_empty() {
    let object = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "r"}, "spec": {"limits": [
        {"type": "Container", "max": {"cpu": "1000m"}}]}});
    let limit = message(0x0a, &[wire("0a \"Container\" 12 0a 0a \"cpu\" 12 03 0a \"1\"")]);
    assert_eq!(
        encode(&object).unwrap(),
        envelope("v1", "LimitRange", &[metadata("r"), message(0x12, &[limit])])
    );
    // A volume's source is inlined: an empty message stands there for a volume without one.
    let volume = json!({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "t"},
        "template": {"spec": {"volumes": [{"name": "v"}]}}});
    let bytes = encode(&volume).unwrap();
    let wanted = message(0x0a, &[wire("0a \"v\" 12 00")]);
    assert!(bytes.windows(wanted.len()).any(|window| window == wanted));
}

#[test]
fn a_status_and_a_watch_event() {
    let object = json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "message": "no", "reason": "NotFound", "code": 404});
    let expected = envelope(
        "v1",
        "Status",
        &[wire("0a 06 0a \"\" 12 \"\" 1a \"\" 12 \"Failure\" 1a \"no\" 22 \"NotFound\" 30 94 03")],
    );
    assert_eq!(encode(&object).unwrap(), expected);
    assert_eq!(decode(&expected).unwrap(), object);
    let frame = watch_frame("ADDED", b"xyz");
    assert_eq!(frame, wire("00 00 00 0e 0a \"ADDED\" 12 05 0a \"xyz\""));
}

#[test]
fn metadata_only_has_a_form_and_own_kinds_have_none() {
    let object =
        json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {"name": "a"}});
    assert_eq!(
        encode(&object).unwrap(),
        envelope("meta.k8s.io/v1", "PartialObjectMetadata", &[metadata("a")])
    );
    let own = json!({"apiVersion": "example.com/v1", "kind": "Own", "metadata": {"name": "a"}});
    assert!(encode(&own).unwrap_err().0.contains("does not implement the protobuf marshalling interface"));
}
