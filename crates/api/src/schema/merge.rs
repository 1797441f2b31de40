//! The table as [`machinery::schema::Schema`]: what strategic merge patch and server-side apply ask.

use super::{ListType, MapType, Node, TABLE, Type, lookup};
use machinery::GroupVersionKind;
use machinery::schema::{Field, ListKey, ListKind, PatchStrategy, Schema, Shape};

/// The built-in types.
#[derive(Clone, Copy, Debug, Default)]
pub struct BuiltIn;

/// A type of [`BuiltIn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// The struct of a kind.
    Root(super::TypeId),
    /// Any type below.
    Node(Node),
}

impl BuiltIn {
    /// The type of a kind.
    pub fn root(self, gvk: &GroupVersionKind) -> Option<Merge> {
        lookup(gvk).map(Merge::Root)
    }
}

impl Schema for BuiltIn {
    type Type = Merge;

    fn shape(&self, ty: Merge) -> Shape<'_, Merge> {
        let node = match ty {
            Merge::Root(id) => return Shape::Struct { atomic: TABLE.types[usize::from(id.0)].atomic },
            Merge::Node(node) => node,
        };
        match node.ty() {
            Type::Primitive(_) => Shape::Scalar,
            Type::Struct { atomic, .. } => Shape::Struct { atomic: *atomic },
            Type::Map { element, kind } => {
                Shape::Map { element: Merge::Node(*element), atomic: *kind == Some(MapType::Atomic) }
            }
            Type::List { element, kind } => Shape::List {
                element: Merge::Node(*element),
                kind: match kind {
                    ListType::Unset | ListType::Atomic => ListKind::Atomic,
                    ListType::Set => ListKind::Set,
                    ListType::Keys(keys) => ListKind::Map(
                        keys.iter()
                            .map(|name| ListKey {
                                name,
                                default: element
                                    .inner_struct()
                                    .and_then(|id| id.field(name))
                                    .and_then(|field| field.default.as_ref()),
                            })
                            .collect(),
                    ),
                },
            },
        }
    }

    fn field(&self, ty: Merge, name: &str) -> Option<Field<'_, Merge>> {
        let id = match ty {
            Merge::Root(id) => id,
            Merge::Node(node) => match node.ty() {
                Type::Struct { id, .. } => *id,
                _ => return None,
            },
        };
        let field = id.field(name)?;
        let patch = PatchStrategy {
            merge: field.merge,
            replace: field.replace,
            retain_keys: field.retain_keys,
            key: field.merge_key,
        };
        // Structs that are no pointers in Go are published with `{}` for default.
        let always = field.required || field.default.as_ref().is_some_and(serde_json::Value::is_object);
        Some(Field { ty: Merge::Node(field.node), patch, always })
    }
}
