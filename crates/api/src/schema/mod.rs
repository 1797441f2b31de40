//! The declarative table of every v1.36 type: its fields with type, protobuf number, list and map keys,
//! patch strategy and default. What k8s-openapi does not carry, and what strict validation, strategic merge
//! patch, server-side apply, protobuf and OpenAPI are driven by.
//!
//! The text form is one file per package in `tables/`, parsed once at first use into less than a megabyte:
//!
//! ```text
//! package apps.v1 io.k8s.api.apps.v1 group=apps version=v1
//! DeploymentSpec                       a type; `kind` marks those with an API version of their own
//!  replicas int32 1                    field, type, protobuf number (`2.1` is field 1 of inlined message 2)
//!  selector! meta:LabelSelector 2      `!` is required; `package:Type` is in another package
//!  conditions [DeploymentCondition] 6 keys(type) merge(type)
//!  template! core.v1:PodTemplateSpec 3 ={}
//! ```
//!
//! After the number stand: `atomic`, `set`, `keys(…)`, `granular` (list and map types), `merge(key)`,
//! `retainKeys`, `replace` (patch strategy), `enum(…)` (the values of a string, or of a list's items), `bare` (no
//! description), and `=` with the published default. `[T]` is a list, `{T}` a map.
//!
//! `tables/pointers.tbl` says what the published schema does not: which optional values are Go pointers (their zero
//! is a value, and nothing is written where they are unset), and with `+` which are none but are written in JSON
//! even when they are zero (no `omitempty`). Structs are pointers exactly where no default is published.
//!
//! Deliberately absent: validation, defaulting (the published default matters to list keys and OpenAPI only).
//! What the documentation says about the types is in [`Descriptions`], taken from elsewhere.

mod canonical;
mod describe;
mod merge;
mod parse;
mod strict;
mod structural;

use machinery::GroupVersionKind;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::LazyLock;

pub use canonical::canonicalize;
pub(crate) use canonical::{is_unset, zero};
pub use describe::{Described, Descriptions, FINGERPRINT};
pub use merge::{BuiltIn, Merge};
pub use strict::{strict_message, unknown_fields};
pub use structural::Structural;

/// The type of custom resources' schemas, which refers to itself through primitives.
pub(crate) const JSON_SCHEMA_PROPS: &str =
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

static TABLE: LazyLock<Table> = LazyLock::new(parse::parse);

/// A struct type of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(u16);

/// Any type of the table: struct, list, map or primitive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Node(u16);

/// What a [`Node`] is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// A value without fields of its own.
    Primitive(Primitive),
    /// A struct.
    Struct {
        /// Which.
        id: TypeId,
        /// Whether server-side apply treats it as one value.
        atomic: bool,
        /// `x-kubernetes-map-type` written at the field itself.
        at_field: Option<MapType>,
    },
    /// A list.
    List {
        /// Type of the items.
        element: Node,
        /// `x-kubernetes-list-type`.
        kind: ListType,
    },
    /// A map with strings for keys.
    Map {
        /// Type of the values.
        element: Node,
        /// `x-kubernetes-map-type`.
        kind: Option<MapType>,
    },
}

/// `x-kubernetes-map-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MapType {
    /// One value.
    Atomic,
    /// Entries have owners of their own.
    Granular,
}

/// `x-kubernetes-list-type`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListType {
    /// None published: one value.
    Unset,
    /// One value.
    Atomic,
    /// Items are told apart by value.
    Set,
    /// Items are told apart by these fields.
    Keys(Box<[&'static str]>),
}

/// Types without fields of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are the API's own")]
pub enum Primitive {
    String,
    Int32,
    Int64,
    Bool,
    Double,
    /// Base64 text.
    Bytes,
    Quantity,
    IntOrString,
    /// RFC 3339 to the second.
    Time,
    /// RFC 3339 to the microsecond.
    MicroTime,
    /// `runtime.RawExtension`: any object.
    Raw,
    /// `metav1.FieldsV1`.
    Fields,
    /// `apiextensions/v1.JSON`: any value.
    Json,
    SchemaOrArray,
    SchemaOrBool,
    SchemaOrStrings,
}

/// A field of a struct.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldInfo {
    /// Name in JSON.
    pub name: &'static str,
    /// Its type.
    pub node: Node,
    /// Whether it must be present.
    pub required: bool,
    /// Protobuf field numbers from the message down through inlined ones, empty where there is none.
    pub proto: Box<[u16]>,
    /// `x-kubernetes-patch-strategy` contains `merge`.
    pub merge: bool,
    /// `x-kubernetes-patch-strategy` contains `retainKeys`.
    pub retain_keys: bool,
    /// `x-kubernetes-patch-strategy` contains `replace`.
    pub replace: bool,
    /// `x-kubernetes-patch-merge-key`.
    pub merge_key: Option<&'static str>,
    /// The values that it, or an item of it, may have, where upstream marks its type as an enumeration; else empty.
    pub values: Box<[&'static str]>,
    /// Published as a reference with nothing beside it, because upstream documents the field nowhere.
    pub bare: bool,
    /// Marked as one value, whatever its type.
    pub atomic: bool,
    /// The published default.
    pub default: Option<Value>,
    /// Whether it is a Go pointer: its zero is a value, and unset it is not on the wire.
    pub pointer: bool,
    /// Whether JSON has it even when it is zero, though it is optional.
    pub kept: bool,
}

/// `x-kubernetes-unions`.
#[derive(Clone, Debug, PartialEq)]
pub struct Union {
    /// Field that names the member, if there is one.
    pub discriminator: Option<&'static str>,
    /// Members: field and the discriminator's value.
    pub fields: Vec<(&'static str, &'static str)>,
}

#[derive(Debug)]
struct Package {
    full: &'static str,
    group: Option<&'static str>,
    version: &'static str,
}

#[derive(Debug)]
struct TypeInfo {
    name: &'static str,
    package: u16,
    is_kind: bool,
    everywhere: bool,
    atomic: bool,
    first_field: u32,
    end_field: u32,
    /// How many of the type's entries in `Table::wire` are used.
    wire_len: u32,
    unions: Vec<Union>,
}

#[derive(Debug, Default)]
struct Table {
    packages: Vec<Package>,
    types: Vec<TypeInfo>,
    nodes: Vec<Type>,
    fields: Vec<FieldInfo>,
    /// For each type its fields that are in protobuf, in the order of their numbers; as `fields`, by type.
    wire: Vec<u32>,
    kinds: HashMap<(&'static str, &'static str, &'static str), TypeId>,
    names: HashMap<(u16, &'static str), TypeId>,
}

/// The type of a kind. `DeleteOptions` and `WatchEvent` exist in every group and version.
pub fn lookup(gvk: &GroupVersionKind) -> Option<TypeId> {
    let known = TABLE.kinds.get(&(gvk.group.as_ref(), gvk.version.as_ref(), gvk.kind.as_ref())).copied();
    known.or_else(|| {
        let everywhere = TABLE.kinds.get(&("", "v1", gvk.kind.as_ref())).copied()?;
        TABLE.types[usize::from(everywhere.0)].everywhere.then_some(everywhere)
    })
}

/// The type with a published name such as `io.k8s.api.core.v1.PodSpec`.
pub fn by_name(full: &str) -> Option<TypeId> {
    let (package, name) = full.rsplit_once('.')?;
    let package = TABLE.packages.iter().position(|p| p.full == package)?;
    TABLE.names.get(&(u16::try_from(package).ok()?, name)).copied()
}

/// Every struct type, in the order of the table.
pub fn types() -> impl Iterator<Item = TypeId> {
    (0..TABLE.types.len()).filter_map(|id| u16::try_from(id).ok().map(TypeId))
}

impl TypeId {
    fn info(self) -> &'static TypeInfo {
        &TABLE.types[usize::from(self.0)]
    }

    /// Name such as `PodSpec`.
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// Published package such as `io.k8s.api.core.v1`.
    pub fn package(self) -> &'static str {
        TABLE.packages[usize::from(self.info().package)].full
    }

    /// Published name such as `io.k8s.api.core.v1.PodSpec`.
    pub fn full_name(self) -> String {
        format!("{}.{}", self.package(), self.name())
    }

    /// Its fields, sorted by name.
    pub fn fields(self) -> &'static [FieldInfo] {
        let info = self.info();
        &TABLE.fields[info.first_field as usize..info.end_field as usize]
    }

    /// The place in [`TypeId::fields`] of each field that is in protobuf, by ascending number.
    pub(crate) fn wire_order(self) -> &'static [u32] {
        let info = self.info();
        &TABLE.wire[info.first_field as usize..(info.first_field + info.wire_len) as usize]
    }

    /// The field called `name` in JSON.
    pub fn field(self, name: &str) -> Option<&'static FieldInfo> {
        let fields = self.fields();
        fields.binary_search_by(|field| field.name.cmp(name)).ok().map(|at| &fields[at])
    }

    /// Group, version and kind, for the types that have them. Types that exist in every group answer the core
    /// group's.
    pub fn gvk(self) -> Option<GroupVersionKind> {
        let info = self.info();
        let package = &TABLE.packages[usize::from(info.package)];
        if !info.is_kind {
            return None;
        }
        package.group.map(|group| GroupVersionKind::new(group, package.version, info.name))
    }

    /// Whether the kind exists in every group and version (`DeleteOptions`, `WatchEvent`).
    pub fn is_everywhere(self) -> bool {
        self.info().everywhere
    }

    /// Whether the type is marked `x-kubernetes-map-type: atomic`.
    pub fn is_atomic(self) -> bool {
        self.info().atomic
    }

    /// `x-kubernetes-unions`.
    pub fn unions(self) -> &'static [Union] {
        &self.info().unions
    }
}

impl Node {
    /// What it is.
    pub fn ty(self) -> &'static Type {
        &TABLE.nodes[usize::from(self.0)]
    }

    /// The struct that it is, or whose list or map it is.
    pub fn inner_struct(self) -> Option<TypeId> {
        match self.ty() {
            Type::Struct { id, .. } => Some(*id),
            Type::List { element, .. } | Type::Map { element, .. } => element.inner_struct(),
            Type::Primitive(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
