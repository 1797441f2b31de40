//! CBOR (RFC 8949) to JSON trees and back, in the profile of KEP-4222: strings as byte strings, the self-described tag
//! in front, no numbers that JSON does not have.
//!
//! Deliberately absent: the deterministic order of keys, which upstream asks of storage only; bignums.

use super::CodecError;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Map, Number, Value};
use std::fmt::Write;

/// The self-described tag, which every document starts with.
pub const MAGIC: &[u8] = &[0xd9, 0xd9, 0xf7];
/// Levels of nesting, as upstream has it.
const DEPTH: usize = 64;

const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;

/// Appends a document with its tag.
pub fn encode(value: &Value, out: &mut Vec<u8>) {
    out.extend_from_slice(MAGIC);
    item(value, out);
}

/// Appends a list's or an event's beginning: a map of so many entries, whose keys and values follow.
pub fn map_head(entries: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(MAGIC);
    head(MAP, entries as u64, out);
}

/// Appends the head of an array of so many items.
pub fn array_head(items: usize, out: &mut Vec<u8>) {
    head(ARRAY, items as u64, out);
}

/// Appends one value without a tag.
pub fn item(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(0xf6),
        Value::Bool(flag) => out.push(if *flag { 0xf5 } else { 0xf4 }),
        Value::Number(number) => self::number(number, out),
        Value::String(text) => string(text, out),
        Value::Array(items) => {
            head(ARRAY, items.len() as u64, out);
            for found in items {
                item(found, out);
            }
        }
        Value::Object(map) => {
            head(MAP, map.len() as u64, out);
            for (key, found) in map {
                string(key, out);
                item(found, out);
            }
        }
    }
}

/// Appends a string, which upstream writes as bytes so that readers need not check it.
pub fn string(text: &str, out: &mut Vec<u8>) {
    head(BYTES, text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

fn head(major: u8, argument: u64, out: &mut Vec<u8>) {
    let bytes = argument.to_be_bytes();
    let (info, used) = match argument {
        0..=23 => return out.push(major << 5 | bytes[7]),
        24..=0xff => (24, 1),
        0x100..=0xffff => (25, 2),
        0x1_0000..=0xffff_ffff => (26, 4),
        _ => (27, 8),
    };
    out.push(major << 5 | info);
    out.extend_from_slice(&bytes[8 - used..]);
}

fn number(number: &Number, out: &mut Vec<u8>) {
    if let Some(n) = number.as_u64() {
        head(UNSIGNED, n, out);
    } else if let Some(n) = number.as_i64() {
        // -1 - n, which is the complement.
        head(NEGATIVE, (!n).cast_unsigned(), out);
    } else {
        float(number.as_f64().unwrap_or_default(), out);
    }
}

/// The shortest float that is the same number.
fn float(value: f64, out: &mut Vec<u8>) {
    let bits = value.to_bits();
    let exponent = i64::try_from(bits >> 52 & 0x7ff).unwrap_or_default() - 1023;
    let sign = u16::from(bits >> 63 != 0) << 15;
    if value == 0.0 {
        out.push(0xf9);
        out.extend_from_slice(&sign.to_be_bytes());
    } else if (-14..=15).contains(&exponent) && bits & 0x3ff_ffff_ffff == 0 {
        let mantissa = u16::try_from(bits >> 42 & 0x3ff).unwrap_or_default();
        let half = sign | u16::try_from(exponent + 15).unwrap_or_default() << 10 | mantissa;
        out.push(0xf9);
        out.extend_from_slice(&half.to_be_bytes());
    } else {
        #[allow(clippy::cast_possible_truncation, reason = "taken only when nothing is lost")]
        let single = value as f32;
        if f64::from(single).to_bits() == bits {
            out.push(0xfa);
            out.extend_from_slice(&single.to_be_bytes());
        } else {
            out.push(0xfb);
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
}

/// Decodes one document, with or without the tag; anything behind it is an error. Work and memory are bounded by the
/// bytes that are there, whatever their lengths claim.
pub fn decode(bytes: &[u8]) -> Result<Value, CodecError> {
    let mut reader = Reader { rest: bytes };
    let value = reader.value(DEPTH)?;
    match reader.rest.len() {
        0 => Ok(value),
        more => {
            Err(bad(&format!("{more} bytes of extraneous data starting at index {}", bytes.len() - more)))
        }
    }
}

fn bad(why: &str) -> CodecError {
    CodecError(format!("cbor: {why}"))
}

struct Reader<'a> {
    rest: &'a [u8],
}

/// The start of an item: its type and argument; no argument is an indefinite length.
struct Head {
    major: u8,
    info: u8,
    argument: Option<u64>,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: u64) -> Result<&'a [u8], CodecError> {
        let len = usize::try_from(len).map_err(|_| bad("unexpected EOF"))?;
        let (head, rest) = self.rest.split_at_checked(len).ok_or_else(|| bad("unexpected EOF"))?;
        self.rest = rest;
        Ok(head)
    }

    fn head(&mut self) -> Result<Head, CodecError> {
        let first = self.take(1)?[0];
        let (major, info) = (first >> 5, first & 0x1f);
        let argument = match info {
            0..=23 => Some(u64::from(info)),
            24..=27 => {
                let bytes = self.take(1 << (info - 24))?;
                Some(bytes.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte)))
            }
            31 if matches!(major, BYTES | TEXT | ARRAY | MAP) => None,
            _ => return Err(bad(&format!("invalid additional information {info} for type {major}"))),
        };
        Ok(Head { major, info, argument })
    }

    /// Whether an item of indefinite length ends here.
    fn ends(&mut self) -> bool {
        let ends = self.rest.first() == Some(&0xff);
        if ends {
            self.rest = &self.rest[1..];
        }
        ends
    }

    fn value(&mut self, depth: usize) -> Result<Value, CodecError> {
        let head = self.head()?;
        self.rest_of(&head, depth)
    }

    fn rest_of(&mut self, head: &Head, depth: usize) -> Result<Value, CodecError> {
        let below = |depth: usize| {
            depth.checked_sub(1).ok_or_else(|| bad(&format!("exceeded max nested level {DEPTH}")))
        };
        match (head.major, head.argument) {
            (UNSIGNED, Some(n)) => {
                i64::try_from(n).map(Value::from).map_err(|_| bad(&format!("{n} overflows Go's int64")))
            }
            (NEGATIVE, Some(n)) => i64::try_from(n)
                .map(|n| Value::from(!n))
                .map_err(|_| bad(&format!("-1-{n} overflows Go's int64"))),
            (BYTES | TEXT, _) => self.text(head).map(Value::String),
            (ARRAY, len) => self.array(len, below(depth)?),
            (MAP, len) => self.map(len, below(depth)?),
            (TAG, Some(tag)) => self.tagged(tag, below(depth)?),
            _ => self.simple(head),
        }
    }

    fn bytes(&mut self, head: &Head) -> Result<Vec<u8>, CodecError> {
        let Some(len) = head.argument else {
            let mut whole = Vec::new();
            while !self.ends() {
                let chunk = self.head()?;
                match chunk.argument {
                    Some(len) if chunk.major == head.major => whole.extend_from_slice(self.take(len)?),
                    _ => return Err(bad("wrong type of chunk in a string of indefinite length")),
                }
            }
            return Ok(whole);
        };
        self.take(len).map(<[u8]>::to_vec)
    }

    fn text(&mut self, head: &Head) -> Result<String, CodecError> {
        String::from_utf8(self.bytes(head)?).map_err(|_| bad("invalid UTF-8 string"))
    }

    /// More items than there are bytes is a lie.
    fn check(&self, len: Option<u64>) -> Result<(), CodecError> {
        match len {
            Some(len) if usize::try_from(len).map_or(true, |len| len > self.rest.len()) => {
                Err(bad("unexpected EOF"))
            }
            _ => Ok(()),
        }
    }

    fn array(&mut self, len: Option<u64>, depth: usize) -> Result<Value, CodecError> {
        self.check(len)?;
        let mut items = Vec::new();
        while len.map_or_else(|| !self.ends(), |len| (items.len() as u64) < len) {
            items.push(self.value(depth)?);
        }
        Ok(Value::Array(items))
    }

    fn map(&mut self, len: Option<u64>, depth: usize) -> Result<Value, CodecError> {
        self.check(len)?;
        let mut map = Map::new();
        while len.map_or_else(|| !self.ends(), |len| (map.len() as u64) < len) {
            let head = self.head()?;
            if !matches!(head.major, BYTES | TEXT) {
                return Err(bad("a map's key is not a string"));
            }
            let key = self.text(&head)?;
            let value = self.value(depth)?;
            if map.contains_key(&key) {
                return Err(bad(&format!("found duplicate map key {key:?}")));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }

    fn tagged(&mut self, tag: u64, depth: usize) -> Result<Value, CodecError> {
        let head = self.head()?;
        let in_base = matches!(tag, 21..=23) && head.major == BYTES;
        match tag {
            2 | 3 => Err(bad("bignums are not supported")),
            21 if in_base => Ok(Value::String(URL_SAFE.encode(self.bytes(&head)?))),
            22 if in_base => Ok(Value::String(STANDARD.encode(self.bytes(&head)?))),
            23 if in_base => {
                let mut text = String::new();
                for byte in self.bytes(&head)? {
                    // Writing to memory does not fail.
                    let _ = write!(text, "{byte:02X}");
                }
                Ok(Value::String(text))
            }
            _ => self.rest_of(&head, depth),
        }
    }

    fn simple(&self, head: &Head) -> Result<Value, CodecError> {
        let bits = head.argument.unwrap_or_default();
        let float = match head.info {
            20 | 21 => return Ok(Value::Bool(head.info == 21)),
            22 | 23 => return Ok(Value::Null),
            25 => half(bits),
            26 => f64::from(f32::from_bits(u32::try_from(bits).unwrap_or_default())),
            27 => f64::from_bits(bits),
            _ => return Err(bad(&format!("simple value {bits} is not supported"))),
        };
        Number::from_f64(float).map(Value::Number).ok_or_else(|| bad("floating-point NaN or infinity"))
    }
}

fn half(bits: u64) -> f64 {
    let (exponent, mantissa) =
        (bits >> 10 & 0x1f, f64::from(u16::try_from(bits & 0x3ff).unwrap_or_default()));
    let scale = |exponent: i32| 2_f64.powi(exponent);
    let size = match exponent {
        0 => mantissa * scale(-24),
        0x1f if mantissa == 0.0 => f64::INFINITY,
        0x1f => f64::NAN,
        _ => (mantissa + 1024.0) * scale(i32::try_from(exponent).unwrap_or_default() - 25),
    };
    if bits & 0x8000 == 0 { size } else { -size }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn examples_of_the_rfc() {
        // RFC 8949, appendix A.
        let rows = [
            ("00", json!(0)),
            ("1818", json!(24)),
            ("1b000000e8d4a51000", json!(1_000_000_000_000_u64)),
            ("3903e7", json!(-1000)),
            ("f93c00", json!(1.0)),
            ("fb3ff199999999999a", json!(1.1)),
            ("f97bff", json!(65504.0)),
            ("fa47c35000", json!(100_000.0)),
            ("f90001", json!(5.960_464_477_539_063e-8)),
            ("f9c400", json!(-4.0)),
            ("f6", json!(null)),
            ("6449455446", json!("IETF")),
            ("83010203", json!([1, 2, 3])),
            ("a26161016162820203", json!({"a": 1, "b": [2, 3]})),
            ("5f42010243030405ff", json!("\u{1}\u{2}\u{3}\u{4}\u{5}")),
            ("9f018202039f0405ffff", json!([1, [2, 3], [4, 5]])),
            ("bf61610161629f0203ffff", json!({"a": 1, "b": [2, 3]})),
            ("d74401020304", json!("01020304")),
            ("d64401020304", json!("AQIDBA==")),
            ("c074323031332d30332d32315432303a30343a30305a", json!("2013-03-21T20:04:00Z")),
            ("d9d9f7f5", json!(true)),
        ];
        for (hex, value) in rows {
            assert_eq!(decode(&bytes(hex)).unwrap(), value, "{hex}");
        }
    }

    #[test]
    fn writes_what_upstream_reads() {
        let mut out = Vec::new();
        encode(&json!({"a": ["é", -1, 1.5, 3.4e38, 0.1, 300]}), &mut out);
        assert_eq!(out, bytes("d9d9f7a141618642c3a920f93e00fb47eff933c78cdfadfb3fb999999999999a19012c"));
        assert_eq!(decode(&out).unwrap(), json!({"a": ["é", -1, 1.5, 3.4e38, 0.1, 300]}));
    }

    #[test]
    fn lies_and_rubbish_are_refused() {
        let deep = "81".repeat(100_000) + "00";
        let rows = [
            "",
            "9bffffffffffffffff",
            "bb7fffffffffffffff00",
            "5b7fffffffffffffff",
            "1bffffffffffffffff",
            "c249010000000000000000",
            "f97e00",
            "f97c00",
            "0000",
            "a2616101616102",
            "a10102",
            "62c328",
            "42c328",
            "5f6161ff",
            "f8ff",
            "ff",
            "9f",
            "1c",
            &deep,
        ];
        for hex in rows {
            assert!(decode(&bytes(hex)).is_err(), "{}", &hex[..hex.len().min(40)]);
        }
    }

    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_filter("JSON has no others", |f| f.is_finite()).prop_map(Value::from),
            ".{0,40}".prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 64, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(".{0,6}", inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn there_and_back(value in tree()) {
            let mut out = Vec::new();
            encode(&value, &mut out);
            prop_assert_eq!(decode(&out).unwrap(), value);
        }

        #[test]
        fn noise_does_no_harm(noise in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&noise);
        }
    }
}
