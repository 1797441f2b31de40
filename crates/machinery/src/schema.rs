//! [`Schema`]: what strategic merges and server-side apply must know of types. Crate `api` implements it for
//! the built-in types and for structural schemas of custom resources; [`Deduced`] reads it off the values.
//!
//! Source: API reference, "merging" markers (`x-kubernetes-list-type`, `-list-map-keys`, `-map-type`,
//! `-patch-strategy`, `-patch-merge-key`).

use serde_json::Value;

/// Types by a small handle.
pub trait Schema {
    /// A type, valid only with the schema that gave it.
    type Type: Copy;

    /// What values of a type look like and how they merge.
    fn shape(&self, ty: Self::Type) -> Shape<'_, Self::Type>;

    /// A field of a struct; `None` for unknown fields and for types that are no struct.
    fn field(&self, ty: Self::Type, name: &str) -> Option<Field<'_, Self::Type>>;
}

/// What values of a type look like and how they merge.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape<'s, T> {
    /// One value, replaced as a whole; also trees without any structure of their own.
    Scalar,
    /// Fields by name, see [`Schema::field`].
    Struct {
        /// Whether it is replaced as a whole.
        atomic: bool,
    },
    /// Entries by any key.
    Map {
        /// Type of the values.
        element: T,
        /// Whether it is replaced as a whole.
        atomic: bool,
    },
    /// A list.
    List {
        /// Type of the items.
        element: T,
        /// How items are told apart.
        kind: ListKind<'s>,
    },
    /// To be read off the value: maps merge, lists are replaced.
    Deduced,
}

/// How the items of a list are told apart (`x-kubernetes-list-type`).
#[derive(Clone, Debug, PartialEq)]
pub enum ListKind<'s> {
    /// Not at all: it is replaced as a whole.
    Atomic,
    /// By value.
    Set,
    /// By these fields of each item.
    Map(Vec<ListKey<'s>>),
}

/// One of the fields that tell the items of a list apart.
#[derive(Clone, Debug, PartialEq)]
pub struct ListKey<'s> {
    /// Name of the field.
    pub name: &'s str,
    /// Its value in items that leave it out.
    pub default: Option<&'s Value>,
}

/// A field of a struct.
#[derive(Clone, Debug, PartialEq)]
pub struct Field<'s, T> {
    /// Its type.
    pub ty: T,
    /// How strategic merge patches treat it.
    pub patch: PatchStrategy<'s>,
    /// Upstream's objects always have it, if only empty, so that nobody comes to own its mere presence.
    pub always: bool,
}

/// How strategic merge patches treat a field (`patchStrategy` and `patchMergeKey`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PatchStrategy<'s> {
    /// Lists are merged item by item instead of replaced.
    pub merge: bool,
    /// Maps are replaced instead of merged.
    pub replace: bool,
    /// Maps are sent with the list of their keys, so that others are cleared.
    pub retain_keys: bool,
    /// The field that tells the items of a merged list apart; none for lists of scalars.
    pub key: Option<&'s str>,
}

/// The schema of nothing in particular.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deduced;

impl Schema for Deduced {
    type Type = ();

    fn shape(&self, (): ()) -> Shape<'_, ()> {
        Shape::Deduced
    }

    fn field(&self, (): (), _name: &str) -> Option<Field<'_, ()>> {
        None
    }
}
