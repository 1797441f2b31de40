//! What differs between two values, as sets of fields.

use super::path::PathElement;
use super::set::FieldSet;
use super::typed::{Atom, Ty, Typed, item_element};
use crate::schema::{ListKind, Schema};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// What differs between two values.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// Only in the new one.
    pub(super) added: FieldSet,
    /// Only in the old one.
    pub(super) removed: FieldSet,
    /// In both, with different values.
    pub(super) modified: FieldSet,
}

#[derive(Clone, Copy, PartialEq)]
enum Change {
    None,
    Added,
    Removed,
    Modified,
}

static EMPTY: LazyLock<Value> = LazyLock::new(|| Value::Object(Map::new()));
static NULL: Value = Value::Null;

impl Comparison {
    /// Without the fields at and below those of `ignored`.
    pub(super) fn exclude(self, ignored: &FieldSet) -> Self {
        if ignored.is_empty() {
            return self;
        }
        Self {
            added: self.added.recursive_difference(ignored),
            removed: self.removed.recursive_difference(ignored),
            modified: self.modified.recursive_difference(ignored),
        }
    }

    /// Adds what happened to the part of `element`, which is only made where something did.
    fn put(&mut self, element: impl Fn() -> PathElement, change: Change, below: Comparison) {
        match change {
            Change::None => {}
            Change::Added => self.added.insert(element()),
            Change::Removed => self.removed.insert(element()),
            Change::Modified => self.modified.insert(element()),
        }
        let parts = [
            (&mut self.added, below.added),
            (&mut self.removed, below.removed),
            (&mut self.modified, below.modified),
        ];
        for (set, below) in parts {
            if !below.is_empty() {
                set.insert_child(element(), below);
            }
        }
    }
}

impl<S: Schema> Typed<'_, S> {
    /// Compares two values of type `ty`.
    pub(super) fn compare(&self, ty: Ty<S>, old: &Value, new: &Value) -> Comparison {
        let mut out = Comparison::default();
        self.walk(ty, Some(old), Some(new), &mut out);
        out
    }

    /// Compares what is below, into `out`, and says what happened to the value itself.
    fn walk(&self, ty: Ty<S>, old: Option<&Value>, new: Option<&Value>, out: &mut Comparison) -> Change {
        let Some(shown) = new.or(old) else { return Change::None };
        let own = match (old, new) {
            (None, _) => Change::Added,
            (_, None) => Change::Removed,
            _ => Change::None,
        };
        let is_map = |value: Option<&Value>| value.is_none_or(|v| v.is_object() || v.is_null());
        let is_list = |value: Option<&Value>| value.is_none_or(|v| v.is_array() || v.is_null());
        // Null has whatever form the other side has.
        let shown = if shown.is_null() { old.unwrap_or(shown) } else { shown };
        match self.atom(ty, shown) {
            Atom::Map if is_map(old) && is_map(new) => {
                self.maps(ty, old.and_then(Value::as_object), new.and_then(Value::as_object), out);
                own
            }
            Atom::List { element, kind } if is_list(old) && is_list(new) => {
                self.lists(Some(element), &kind, items(old), items(new), out);
                own
            }
            _ if own == Change::None && old != new => Change::Modified,
            _ => own,
        }
    }

    fn maps(
        &self,
        ty: Ty<S>,
        old: Option<&Map<String, Value>>,
        new: Option<&Map<String, Value>>,
        out: &mut Comparison,
    ) {
        let names = new.into_iter().flat_map(Map::keys);
        let gone = old
            .into_iter()
            .flat_map(Map::keys)
            .filter(|name| !new.is_some_and(|new| new.contains_key(*name)));
        for name in names.chain(gone) {
            let child = self.child(ty, name);
            let before = old.and_then(|map| map.get(name));
            let after = new.and_then(|map| map.get(name));
            // Upstream's objects are structs, in which some fields are never absent.
            let implied = |side: Option<&Map<String, Value>>, other: Option<&Value>| {
                side.filter(|_| child.always).map(|_| match other {
                    Some(Value::Object(_)) => &*EMPTY,
                    _ => &NULL,
                })
            };
            let before_or = before.or_else(|| implied(old, after));
            let after_or = after.or_else(|| implied(new, before));
            let mut below = Comparison::default();
            let change = self.walk(child.ty, before_or, after_or, &mut below);
            out.put(|| PathElement::field(name), change, below);
        }
    }

    fn lists(&self, ty: Ty<S>, kind: &ListKind<'_>, old: &[Value], new: &[Value], out: &mut Comparison) {
        let old = index(kind, old);
        let mut new = index(kind, new);
        let mut compare = |element: PathElement, before: &[&Value], after: &[&Value]| {
            let mut below = Comparison::default();
            let change = if before.len() > 1 || after.len() > 1 {
                // Items that cannot be told apart are compared together.
                match (before, after) {
                    ([], _) => Change::Added,
                    (_, []) => Change::Removed,
                    (before, after) if before != after => Change::Modified,
                    _ => Change::None,
                }
            } else {
                self.walk(ty, before.first().copied(), after.first().copied(), &mut below)
            };
            out.put(|| element.clone(), change, below);
        };
        for (element, before) in old {
            let after = new.remove(&element).unwrap_or_default();
            compare(element, &before, &after);
        }
        for (element, after) in new {
            compare(element, &[], &after);
        }
    }
}

fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn index<'v>(kind: &ListKind<'_>, items: &'v [Value]) -> BTreeMap<PathElement, Vec<&'v Value>> {
    let mut map: BTreeMap<PathElement, Vec<&Value>> = BTreeMap::new();
    for item in items {
        if let Some(element) = item_element(kind, item) {
            map.entry(element).or_default().push(item);
        }
    }
    map
}
