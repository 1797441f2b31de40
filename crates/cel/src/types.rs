//! [`Type`]: what the checker knows of a value.

use std::fmt;
use std::sync::Arc;

/// The most elements (or bytes of text) that a value may have; `None` when nothing bounds it.
pub type Size = Option<u64>;

/// A field of an [`Object`](Type::Object).
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name in JSON; expressions use the escaped form (see [`escape`]).
    pub name: String,
    /// Its type.
    pub ty: Type,
}

/// The fields of an object type. Implemented by whoever declares types; may find fields lazily, so that types may
/// contain themselves.
pub trait Fields: Send + Sync + fmt::Debug {
    /// Name of the type, for messages.
    fn name(&self) -> &str;
    /// The field that expressions call `name`.
    fn field(&self, name: &str) -> Option<&Field>;
    /// The field that JSON calls `name`.
    fn json_field(&self, name: &str) -> Option<&Field> {
        match escape(name) {
            Some(escaped) => self.field(&escaped),
            None => None,
        }
    }
    /// Whether any field exists, with a dynamic type (used for types that are only known by name).
    fn open(&self) -> bool {
        false
    }
}

/// How the items of a list are told apart (`x-kubernetes-list-type`): sets and maps are equal in any order, and
/// merge when they are added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListKind {
    /// By position.
    #[default]
    Atomic,
    /// By value.
    Set,
    /// By these fields.
    Map(Vec<String>),
}

/// A list.
#[derive(Clone, Debug)]
pub struct ListType {
    /// Type of the items.
    pub element: Type,
    /// The most items.
    pub max: Size,
    /// How they are told apart.
    pub kind: ListKind,
}

/// A map.
#[derive(Clone, Debug)]
pub struct MapType {
    /// Type of the keys.
    pub key: Type,
    /// Type of the values.
    pub value: Type,
    /// The most entries.
    pub max: Size,
}

/// A type. Sizes count for estimated costs only, never for equality.
#[derive(Clone, Debug)]
pub enum Type {
    /// Anything; checked when it is evaluated.
    Dyn,
    /// A number or a string of bounded length (`x-kubernetes-int-or-string`); otherwise like [`Type::Dyn`].
    IntOrString,
    /// `null`.
    Null,
    /// `true`, `false`.
    Bool,
    /// 64 bits, signed.
    Int,
    /// 64 bits, unsigned.
    Uint,
    /// IEEE 754.
    Double,
    /// Text.
    String(Size),
    /// Octets.
    Bytes(Size),
    /// `google.protobuf.Duration`.
    Duration,
    /// `google.protobuf.Timestamp`.
    Timestamp,
    /// A list.
    List(Arc<ListType>),
    /// A map.
    Map(Arc<MapType>),
    /// An object with declared fields.
    Object(Arc<dyn Fields>),
    /// `optional_type(T)`.
    Optional(Arc<Type>),
    /// A type as a value.
    Type,
    /// A type of a library, which only its functions look into.
    Opaque(&'static str),
    /// A type parameter.
    Var(u16),
}

impl Type {
    /// Text of any length.
    pub const STRING: Self = Self::String(None);

    /// A list of any length.
    pub fn list(element: Type) -> Self {
        Self::List(Arc::new(ListType { element, max: None, kind: ListKind::Atomic }))
    }

    /// A map with any number of entries.
    pub fn map(key: Type, value: Type) -> Self {
        Self::Map(Arc::new(MapType { key, value, max: None }))
    }

    /// Whether everything about it is found out at evaluation.
    pub fn is_dyn(&self) -> bool {
        matches!(self, Self::Dyn | Self::IntOrString)
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn | Self::IntOrString => f.write_str("dyn"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Uint => f.write_str("uint"),
            Self::Double => f.write_str("double"),
            Self::String(_) => f.write_str("string"),
            Self::Bytes(_) => f.write_str("bytes"),
            Self::Duration => f.write_str("google.protobuf.Duration"),
            Self::Timestamp => f.write_str("google.protobuf.Timestamp"),
            Self::List(list) => write!(f, "list({})", list.element),
            Self::Map(map) => write!(f, "map({}, {})", map.key, map.value),
            Self::Object(object) => f.write_str(object.name()),
            Self::Optional(inner) => write!(f, "optional_type({inner})"),
            Self::Type => f.write_str("type"),
            Self::Opaque(name) => f.write_str(name),
            Self::Var(number) => write!(f, "_var{number}"),
        }
    }
}

/// Words that are no field names in expressions.
const RESERVED: &[&str] = &[
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// A field's name as expressions write it; `None` for names that no expression can write
/// (Kubernetes: "CEL in Kubernetes", escaping).
pub fn escape(name: &str) -> Option<String> {
    let mut letters = name.chars();
    let first = letters.next()?;
    if first.is_ascii_digit() {
        return None;
    }
    if RESERVED.contains(&name) {
        return Some(format!("__{name}__"));
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(next) = rest.chars().next() {
        let taken = match next {
            '_' if rest.starts_with("__") => {
                out.push_str("__underscores__");
                2
            }
            '.' => {
                out.push_str("__dot__");
                1
            }
            '-' => {
                out.push_str("__dash__");
                1
            }
            '/' => {
                out.push_str("__slash__");
                1
            }
            '_' | 'a'..='z' | 'A'..='Z' | '0'..='9' => {
                out.push(next);
                1
            }
            _ => return None,
        };
        rest = &rest[taken..];
    }
    Some(out)
}

/// Fields known beforehand.
#[derive(Debug, Default)]
pub struct FieldTable {
    name: String,
    fields: std::collections::BTreeMap<String, Field>,
}

impl FieldTable {
    /// An object type called `name`, of these fields by their names in JSON. Those that no expression can name are
    /// left out.
    pub fn new(name: impl Into<String>, fields: impl IntoIterator<Item = (String, Type)>) -> Self {
        let fields =
            fields.into_iter().filter_map(|(name, ty)| Some((escape(&name)?, Field { name, ty }))).collect();
        Self { name: name.into(), fields }
    }

    /// The same, as a type.
    pub fn object(name: impl Into<String>, fields: impl IntoIterator<Item = (String, Type)>) -> Type {
        Type::Object(Arc::new(Self::new(name, fields)))
    }
}

impl Fields for FieldTable {
    fn name(&self) -> &str {
        &self.name
    }

    fn field(&self, name: &str) -> Option<&Field> {
        self.fields.get(name)
    }
}
