//! Values seen through a schema: what merges, what is one value, and which fields a value sets.

use super::path::PathElement;
use super::set::FieldSet;
use crate::schema::{ListKey, ListKind, Schema, Shape};
use serde_json::{Map, Value};

/// A schema and the walks over values of its types.
pub(super) struct Typed<'s, S>(pub(super) &'s S);

/// A type; `None` is deduced from the value.
pub(super) type Ty<S> = Option<<S as Schema>::Type>;

/// How a value is looked at.
pub(super) enum Atom<'s, T> {
    /// One value.
    Leaf,
    /// Fields or entries.
    Map,
    /// Items that can be told apart.
    List { element: T, kind: ListKind<'s> },
}

/// A field or entry of a map.
pub(super) struct Child<T> {
    pub(super) ty: Option<T>,
    /// It is a field of a struct rather than an entry.
    pub(super) named: bool,
    /// Upstream's objects always have it, if only empty.
    pub(super) always: bool,
}

impl<'s, S: Schema> Typed<'s, S> {
    /// How `value` of type `ty` is looked at. A value of another form than its type is one value.
    pub(super) fn atom(&self, ty: Ty<S>, value: &Value) -> Atom<'s, S::Type> {
        let shape = ty.map_or(Shape::Deduced, |ty| self.0.shape(ty));
        match (shape, value) {
            (
                Shape::Struct { atomic: false } | Shape::Map { atomic: false, .. } | Shape::Deduced,
                Value::Object(_),
            ) => Atom::Map,
            (Shape::List { kind: ListKind::Atomic, .. }, _) => Atom::Leaf,
            (Shape::List { element, kind }, Value::Array(_)) => Atom::List { element, kind },
            _ => Atom::Leaf,
        }
    }

    pub(super) fn child(&self, ty: Ty<S>, name: &str) -> Child<S::Type> {
        let Some(ty) = ty else { return Child { ty: None, named: false, always: false } };
        if let Some(field) = self.0.field(ty, name) {
            return Child { ty: Some(field.ty), named: true, always: field.always };
        }
        let element = match self.0.shape(ty) {
            Shape::Map { element, .. } => Some(element),
            _ => None,
        };
        Child { ty: element, named: false, always: false }
    }

    /// The fields that `value` sets.
    pub(super) fn field_set(&self, ty: Ty<S>, value: &Value) -> FieldSet {
        let mut set = FieldSet::new();
        match (self.atom(ty, value), value) {
            (Atom::Map, Value::Object(map)) => {
                for (name, value) in map {
                    let child = self.child(ty, name);
                    let element = PathElement::field(name);
                    let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                    if !child.named || empty || self.is_leaf(child.ty, value) {
                        set.insert(element.clone());
                    }
                    set.insert_child(element, self.field_set(child.ty, value));
                }
            }
            (Atom::List { element: ty, kind }, Value::Array(items)) => {
                for item in items {
                    if let Some(element) = item_element(&kind, item) {
                        set.insert(element.clone());
                        set.insert_child(element, self.field_set(Some(ty), item));
                    }
                }
            }
            _ => {}
        }
        set
    }

    fn is_leaf(&self, ty: Ty<S>, value: &Value) -> bool {
        matches!(self.atom(ty, value), Atom::Leaf)
    }

    /// `set` and the struct fields above its members: a set of `.spec.a` also has `.spec`.
    pub(super) fn with_named_parents(&self, ty: Ty<S>, set: &FieldSet) -> FieldSet {
        let mut out = set.clone();
        for (element, below) in set.children() {
            let (named, inner) = match element {
                PathElement::Field(name) => {
                    let child = self.child(ty, name);
                    (child.named, child.ty)
                }
                _ => (false, self.item_type(ty)),
            };
            if named {
                out.insert(element.clone());
            }
            out.insert_child(element.clone(), self.with_named_parents(inner, below));
        }
        out
    }

    pub(super) fn item_type(&self, ty: Ty<S>) -> Ty<S> {
        match self.0.shape(ty?) {
            Shape::List { element, .. } => Some(element),
            _ => None,
        }
    }

    /// What is wrong with an applied configuration, in upstream's words.
    pub(super) fn check(&self, ty: Ty<S>, value: &Value, path: &str, errors: &mut Vec<String>) {
        let shape = ty.map_or(Shape::Deduced, |ty| self.0.shape(ty));
        match (shape, value) {
            (_, Value::Null) | (Shape::Deduced, _) => {}
            (Shape::Struct { .. } | Shape::Map { .. }, Value::Object(map)) => {
                let open = !matches!(ty.map(|ty| self.0.shape(ty)), Some(Shape::Struct { .. }));
                for (name, value) in map {
                    let child = self.child(ty, name);
                    let path = format!("{path}.{name}");
                    if child.named || open {
                        self.check(child.ty, value, &path, errors);
                    } else {
                        errors.push(format!("{path}: field not declared in schema"));
                    }
                }
            }
            (Shape::List { element, kind }, Value::Array(items)) => {
                let mut seen: Vec<PathElement> = Vec::new();
                for (index, item) in items.iter().enumerate() {
                    let place = match (&kind, item_element(&kind, item)) {
                        (ListKind::Atomic, _) => PathElement::Index(index as u64),
                        (_, Some(element)) if seen.contains(&element) => {
                            let key = element.to_string();
                            errors.push(format!("{path}: duplicate entries for key {key}"));
                            continue;
                        }
                        (_, Some(element)) => {
                            seen.push(element.clone());
                            element
                        }
                        (kind, None) => {
                            errors.push(format!("{path}: element {index}: {}", missing_key(kind, item)));
                            continue;
                        }
                    };
                    self.check(Some(element), item, &format!("{path}{place}"), errors);
                }
            }
            (Shape::Struct { .. } | Shape::Map { .. }, other) => {
                errors.push(format!("{path}: expected map, got &{{{other}}}"));
            }
            (Shape::List { .. }, other) => errors.push(format!("{path}: expected list, got &{{{other}}}")),
            (Shape::Scalar, _) => {}
        }
    }
}

/// What tells a list item apart; `None` when it lacks a key.
pub(super) fn item_element(kind: &ListKind<'_>, item: &Value) -> Option<PathElement> {
    match kind {
        ListKind::Atomic => None,
        ListKind::Set => Some(PathElement::Value(item.clone())),
        ListKind::Map(keys) => {
            let value = |key: &ListKey<'_>| item.get(key.name).filter(|value| !value.is_null());
            if !item.is_object() {
                return None;
            }
            let mut fields = Vec::with_capacity(keys.len());
            for key in keys {
                if let Some(value) = value(key).or(key.default) {
                    fields.push((key.name.to_owned(), value.clone()));
                }
            }
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            (!fields.is_empty()).then_some(PathElement::Key(fields))
        }
    }
}

fn missing_key(kind: &ListKind<'_>, item: &Value) -> String {
    let ListKind::Map(keys) = kind else { return "is not a set item".to_owned() };
    if !item.is_object() {
        return "associative list with keys may not have non-map elements".to_owned();
    }
    match keys.as_slice() {
        [key] => format!(
            "associative list with keys has an element that omits key field {:?} (and doesn't have default value)",
            key.name
        ),
        _ => "associative list with keys has an element that omits all key fields \
              (and doesn't have default values for any key fields)"
            .to_owned(),
    }
}
