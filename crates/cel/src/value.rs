//! [`Val`]: what expressions compute with. JSON trees are borrowed, never copied; what an expression makes itself is
//! shared.

use crate::error::EvalError;
use crate::opaque::Opaque;
use crate::types::{Fields, ListKind, ListType, Type};
use jiff::Timestamp;
use serde_json::Value as Json;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

/// Text, borrowed from a tree or an expression, or made by one.
#[derive(Clone, Debug)]
pub enum Text<'a> {
    /// Somebody else's.
    Borrowed(&'a str),
    /// An expression's own.
    Shared(Arc<str>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

/// What the elements of a JSON object are.
#[derive(Clone, Copy, Debug)]
pub enum Shape<'a> {
    /// Fields.
    Object(&'a dyn Fields),
    /// Entries with values of one type.
    Map(&'a Type),
}

/// A list.
#[derive(Clone, Debug)]
pub enum List<'a> {
    /// Of a tree.
    Json(&'a [Json], &'a ListType),
    /// An expression's own.
    Owned(Arc<Vec<Val<'a>>>),
}

/// A key of a map; numbers are ordered by value, whatever their type.
#[derive(Clone, Debug)]
pub enum Key<'a> {
    /// `bool`.
    Bool(bool),
    /// `int`.
    Int(i64),
    /// `uint`.
    Uint(u64),
    /// `string`.
    String(Text<'a>),
}

/// Entries of a map that an expression made.
#[derive(Clone, Debug, Default)]
pub struct Entries<'a> {
    /// Name of the type, for objects.
    pub name: Option<&'a str>,
    /// The entries.
    pub map: BTreeMap<Key<'a>, Val<'a>>,
}

/// A map or an object.
#[derive(Clone, Debug)]
pub enum Map<'a> {
    /// Of a tree. The second tree, if any, stands in front of the first.
    Json(&'a serde_json::Map<String, Json>, Option<&'a serde_json::Map<String, Json>>, Shape<'a>),
    /// An expression's own.
    Owned(Arc<Entries<'a>>),
}

/// A value.
#[derive(Clone, Debug)]
pub enum Val<'a> {
    /// `null`.
    Null,
    /// `bool`.
    Bool(bool),
    /// `int`.
    Int(i64),
    /// `uint`.
    Uint(u64),
    /// `double`.
    Double(f64),
    /// `string`.
    String(Text<'a>),
    /// `bytes`.
    Bytes(Arc<[u8]>),
    /// Nanoseconds.
    Duration(i64),
    /// A point in time.
    Timestamp(Timestamp),
    /// A list.
    List(List<'a>),
    /// A map or an object.
    Map(Map<'a>),
    /// `optional_type`.
    Optional(Option<Arc<Val<'a>>>),
    /// A type, by its name.
    Type(Cow<'static, str>),
    /// A value of a library.
    Opaque(Arc<Opaque>),
}

/// The type of trees without a schema.
pub static DYN: Type = Type::Dyn;
static DYN_LIST: ListType = ListType { element: Type::Dyn, max: None, kind: ListKind::Atomic };

impl Ord for Key<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let rank = |key: &Self| match key {
            Self::Bool(_) => 0,
            Self::Int(_) | Self::Uint(_) => 1,
            Self::String(_) => 2,
        };
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::String(a), Self::String(b)) => (**a).cmp(&**b),
            (a, b) => match (a.number(), b.number()) {
                (Some(a), Some(b)) => a.cmp(&b),
                _ => rank(a).cmp(&rank(b)),
            },
        }
    }
}

impl PartialOrd for Key<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key<'_> {}

impl<'a> Key<'a> {
    fn number(&self) -> Option<i128> {
        match self {
            Self::Int(n) => Some(i128::from(*n)),
            Self::Uint(n) => Some(i128::from(*n)),
            _ => None,
        }
    }

    /// The key that a value looks for. Whole `double`s are numbers like others.
    pub(crate) fn of(value: &Val<'a>) -> Option<Self> {
        Some(match value {
            Val::Bool(b) => Self::Bool(*b),
            Val::Int(n) => Self::Int(*n),
            Val::Uint(n) => Self::Uint(*n),
            #[allow(clippy::cast_possible_truncation, reason = "compared with the original")]
            Val::Double(n) if n.fract() == 0.0 && n.abs() < 9e18 => Self::Int(*n as i64),
            Val::String(text) => Self::String(text.clone()),
            _ => return None,
        })
    }

    pub(crate) fn value(&self) -> Val<'a> {
        match self {
            Self::Bool(b) => Val::Bool(*b),
            Self::Int(n) => Val::Int(*n),
            Self::Uint(n) => Val::Uint(*n),
            Self::String(text) => Val::String(text.clone()),
        }
    }
}

impl<'a> List<'a> {
    /// Number of items.
    pub fn len(&self) -> usize {
        match self {
            Self::Json(items, _) => items.len(),
            Self::Owned(items) => items.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One item.
    pub fn get(&self, at: usize) -> Option<Val<'a>> {
        match self {
            Self::Json(items, ty) => items.get(at).map(|item| Val::json(item, &ty.element)),
            Self::Owned(items) => items.get(at).cloned(),
        }
    }

    /// All items.
    pub fn iter(&self) -> impl Iterator<Item = Val<'a>> + '_ {
        (0..self.len()).filter_map(|at| self.get(at))
    }

    pub(crate) fn kind(&self) -> &ListKind {
        match self {
            Self::Json(_, ty) => &ty.kind,
            Self::Owned(_) => &ListKind::Atomic,
        }
    }
}

impl<'a> Map<'a> {
    /// Number of entries.
    pub fn len(&self) -> usize {
        match self {
            Self::Json(map, over, _) => map.len() + over.map_or(0, serde_json::Map::len),
            Self::Owned(entries) => entries.map.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entry of a field or of a text key, by its name in expressions.
    pub fn field(&self, name: &'_ str) -> Option<Val<'a>> {
        match self {
            Self::Json(map, over, Shape::Object(fields)) => {
                let field = fields.field(name)?;
                let found = over.and_then(|over| over.get(&field.name)).or_else(|| map.get(&field.name));
                found.map(|value| Val::json(value, &field.ty))
            }
            Self::Json(map, over, Shape::Map(ty)) => {
                let found = over.and_then(|over| over.get(name)).or_else(|| map.get(name));
                found.map(|value| Val::json(value, ty))
            }
            Self::Owned(entries) => {
                let key: Key<'_> = Key::String(Text::Borrowed(name));
                // A borrowed key of a shorter life finds the same entry.
                entries.find(&key)
            }
        }
    }

    /// The entry of a key.
    pub fn get(&self, key: &Val<'a>) -> Option<Val<'a>> {
        match (self, key) {
            (Self::Json(..), Val::String(name)) => self.field(name),
            (Self::Json(..), _) => None,
            (Self::Owned(entries), key) => entries.map.get(&Key::of(key)?).cloned(),
        }
    }

    /// The entry of a name in JSON, of trees.
    pub(crate) fn entries_value(&self, name: &str) -> Option<Val<'a>> {
        let Self::Json(map, over, shape) = self else { return None };
        let found = over.and_then(|over| over.get(name)).or_else(|| map.get(name))?;
        let ty = match shape {
            Shape::Map(ty) => ty,
            Shape::Object(fields) => fields.json_field(name).map_or(&DYN, |field| &field.ty),
        };
        Some(Val::json(found, ty))
    }

    /// All entries, fields by their names in JSON.
    pub fn entries(&self) -> Vec<(Val<'a>, Val<'a>)> {
        match self {
            Self::Json(map, over, shape) => {
                let over = over.iter().flat_map(|over| over.iter());
                let all = over.chain(map.iter());
                all.map(|(name, value)| {
                    let ty = match shape {
                        Shape::Map(ty) => ty,
                        Shape::Object(fields) => fields.json_field(name).map_or(&DYN, |field| &field.ty),
                    };
                    (Val::text(name), Val::json(value, ty))
                })
                .collect()
            }
            Self::Owned(entries) => entries.map.iter().map(|(k, v)| (k.value(), v.clone())).collect(),
        }
    }
}

impl<'a> Entries<'a> {
    fn find(&self, key: &Key<'_>) -> Option<Val<'a>> {
        // BTreeMap's lookup wants the map's own lifetime for the key; maps of expressions are small.
        match key {
            Key::String(name) => {
                let found = self.map.iter().find(|(k, _)| matches!(k, Key::String(k) if **k == **name));
                found.map(|(_, value)| value.clone())
            }
            _ => None,
        }
    }
}

impl<'a> Val<'a> {
    /// A value of a JSON tree, as `ty` says; what does not fit its type is taken as it is.
    pub fn json(value: &'a Json, ty: &'a Type) -> Self {
        match (value, ty) {
            (Json::Null, _) => Self::Null,
            (Json::Bool(b), _) => Self::Bool(*b),
            (Json::Number(n), Type::Double) => Self::Double(n.as_f64().unwrap_or_default()),
            (Json::Number(n), _) => match n.as_i64() {
                Some(n) => Self::Int(n),
                None => Self::Double(n.as_f64().unwrap_or_default()),
            },
            (Json::String(text), ty) => typed_text(text, ty),
            (Json::Array(items), Type::List(list)) => Self::List(List::Json(items, list)),
            (Json::Array(items), _) => Self::List(List::Json(items, &DYN_LIST)),
            (Json::Object(map), Type::Object(fields)) => {
                Self::Map(Map::Json(map, None, Shape::Object(&**fields)))
            }
            (Json::Object(map), Type::Map(of)) => Self::Map(Map::Json(map, None, Shape::Map(&of.value))),
            (Json::Object(map), _) => Self::Map(Map::Json(map, None, Shape::Map(&DYN))),
        }
    }

    /// A value of a tree without a schema.
    pub fn untyped(value: &'a Json) -> Self {
        Self::json(value, &DYN)
    }

    /// Borrowed text.
    pub fn text(text: &'a str) -> Self {
        Self::String(Text::Borrowed(text))
    }

    /// Text of its own.
    pub fn owned(text: impl Into<Arc<str>>) -> Self {
        Self::String(Text::Shared(text.into()))
    }

    /// A list of its own.
    pub fn list(items: Vec<Val<'a>>) -> Self {
        Self::List(List::Owned(Arc::new(items)))
    }

    /// A map of its own.
    pub fn map(entries: BTreeMap<Key<'a>, Val<'a>>) -> Self {
        Self::Map(Map::Owned(Arc::new(Entries { name: None, map: entries })))
    }

    pub(crate) fn opaque(value: Opaque) -> Self {
        Self::Opaque(Arc::new(value))
    }

    pub(crate) fn some(value: Val<'a>) -> Self {
        Self::Optional(Some(Arc::new(value)))
    }

    /// The text, if it is some.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The truth, if it is some.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(b) => Some(*b),
            _ => None,
        }
    }

    /// Name of its type.
    pub fn type_name(&self) -> Cow<'static, str> {
        let name = match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::String(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::Timestamp(_) => "google.protobuf.Timestamp",
            Self::List(_) => "list",
            Self::Map(Map::Owned(entries)) => match entries.name {
                Some(name) => return Cow::Owned(name.to_owned()),
                None => "map",
            },
            Self::Map(Map::Json(_, _, Shape::Object(fields))) => return Cow::Owned(fields.name().to_owned()),
            Self::Map(_) => "map",
            Self::Optional(_) => "optional_type",
            Self::Type(_) => "type",
            Self::Opaque(value) => value.type_name(),
        };
        Cow::Borrowed(name)
    }

    /// Its size as costs count it: elements, code points, octets; 1 for everything else.
    pub(crate) fn size(&self) -> u64 {
        let size = match self {
            Self::String(text) => text.chars().count(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(list) => list.len(),
            Self::Map(map) => map.len(),
            Self::Optional(Some(value)) => return value.size(),
            Self::Opaque(value) => return value.size(),
            _ => 1,
        };
        size as u64
    }

    /// The value as JSON. Fails on what JSON cannot say (`type`, values of libraries without a text form), and when
    /// it has more than `limit` values, which is counted down.
    pub fn to_json(&self, limit: &mut usize) -> Result<Json, EvalError> {
        *limit = limit.checked_sub(1).ok_or(EvalError::CostExceeded)?;
        Ok(match self {
            Self::Null => Json::Null,
            Self::Bool(b) => Json::Bool(*b),
            Self::Int(n) => Json::from(*n),
            Self::Uint(n) => Json::from(*n),
            Self::Double(n) => serde_json::Number::from_f64(*n).map_or(Json::Null, Json::Number),
            Self::String(text) => Json::String(text.to_string()),
            Self::Bytes(bytes) => {
                use base64::Engine;
                Json::String(base64::engine::general_purpose::STANDARD.encode(bytes))
            }
            Self::Duration(nanos) => Json::String(crate::time::print_duration(*nanos)),
            Self::Timestamp(time) => Json::String(time.to_string()),
            Self::List(list) => {
                Json::Array(list.iter().map(|item| item.to_json(limit)).collect::<Result<_, _>>()?)
            }
            Self::Map(map) => {
                let mut out = serde_json::Map::new();
                for (key, value) in map.entries() {
                    let key = match key {
                        Val::String(text) => text.to_string(),
                        Val::Int(n) => n.to_string(),
                        Val::Uint(n) => n.to_string(),
                        Val::Bool(b) => b.to_string(),
                        _ => return Err(EvalError::new("a key of a map is no text")),
                    };
                    out.insert(key, value.to_json(limit)?);
                }
                Json::Object(out)
            }
            Self::Optional(Some(value)) => value.to_json(limit)?,
            Self::Optional(None) => Json::Null,
            Self::Opaque(value) => match value.text() {
                Some(text) => Json::String(text),
                None => {
                    return Err(EvalError::new(format!("type conversion error from {}", value.type_name())));
                }
            },
            Self::Type(_) => return Err(EvalError::new("type conversion error from 'type' to JSON")),
        })
    }
}

fn typed_text<'a>(text: &'a str, ty: &'a Type) -> Val<'a> {
    match ty {
        Type::Timestamp => match crate::time::parse_timestamp(text).or_else(|| crate::time::parse_date(text))
        {
            Some(time) => Val::Timestamp(time),
            None => Val::text(text),
        },
        Type::Duration => match crate::time::parse_duration(text) {
            Some(nanos) => Val::Duration(nanos),
            None => Val::text(text),
        },
        Type::Bytes(_) => {
            use base64::Engine;
            match base64::engine::general_purpose::STANDARD.decode(text) {
                Ok(bytes) => Val::Bytes(bytes.into()),
                Err(_) => Val::text(text),
            }
        }
        _ => Val::text(text),
    }
}
