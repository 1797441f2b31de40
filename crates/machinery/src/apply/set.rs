//! [`FieldSet`]: a set of paths, and its form in `metadata.managedFields[].fieldsV1`.

use super::path::PathElement;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Nesting deeper than any object that a codec lets in.
const DEPTH_MAX: usize = 256;

/// A set of paths. A path may be a member, have members below it, or both (`.` in FieldsV1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    members: BTreeSet<PathElement>,
    children: BTreeMap<PathElement, FieldSet>,
}

impl FieldSet {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// The set of paths of fields such as `["metadata", "name"]`.
    pub fn of_fields(paths: &[&[&str]]) -> Self {
        let mut set = Self::new();
        for path in paths {
            let Some((last, parents)) = path.split_last() else { continue };
            let mut at = &mut set;
            for parent in parents {
                at = at.children.entry(PathElement::field(parent)).or_default();
            }
            at.members.insert(PathElement::field(last));
        }
        set
    }

    /// Whether it has no path.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.children.values().all(Self::is_empty)
    }

    /// Adds the path of one element.
    pub fn insert(&mut self, element: PathElement) {
        self.members.insert(element);
    }

    /// Adds `child`'s paths below `element`.
    pub fn insert_child(&mut self, element: PathElement, child: FieldSet) {
        if !child.is_empty() {
            match self.children.get_mut(&element) {
                Some(old) => *old = old.union(&child),
                None => {
                    self.children.insert(element, child);
                }
            }
        }
    }

    /// Whether the path of one element is a member.
    pub fn has(&self, element: &PathElement) -> bool {
        self.members.contains(element)
    }

    /// The paths below `element`.
    pub fn child(&self, element: &PathElement) -> Option<&FieldSet> {
        self.children.get(element)
    }

    /// The first elements of paths with more than one.
    pub(super) fn children(&self) -> impl Iterator<Item = (&PathElement, &FieldSet)> {
        self.children.iter()
    }

    /// Paths in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut out = self.clone();
        out.members.extend(other.members.iter().cloned());
        for (element, theirs) in &other.children {
            out.insert_child(element.clone(), theirs.clone());
        }
        out
    }

    /// Paths in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut out = Self {
            members: self.members.intersection(&other.members).cloned().collect(),
            children: BTreeMap::new(),
        };
        for (element, ours) in &self.children {
            if let Some(theirs) = other.children.get(element) {
                out.insert_child(element.clone(), ours.intersection(theirs));
            }
        }
        out
    }

    /// Paths in this one only.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        self.minus(other, false)
    }

    /// Paths in this one that are not in `other`, nor below a path of `other`.
    #[must_use]
    pub fn recursive_difference(&self, other: &Self) -> Self {
        self.minus(other, true)
    }

    fn minus(&self, other: &Self, below: bool) -> Self {
        let mut out = Self {
            members: self.members.difference(&other.members).cloned().collect(),
            children: BTreeMap::new(),
        };
        for (element, ours) in &self.children {
            if below && other.members.contains(element) {
                continue;
            }
            let rest = match other.children.get(element) {
                Some(theirs) => ours.minus(theirs, below),
                None => ours.clone(),
            };
            out.insert_child(element.clone(), rest);
        }
        out
    }

    /// Takes the paths of `other` away.
    pub(super) fn subtract(&mut self, other: &Self) {
        for member in &other.members {
            self.members.remove(member);
        }
        for (element, theirs) in &other.children {
            let Some(ours) = self.children.get_mut(element) else { continue };
            ours.subtract(theirs);
            if ours.is_empty() {
                self.children.remove(element);
            }
        }
    }

    /// Adds the paths of `other`.
    pub(super) fn absorb(&mut self, mut other: Self) {
        self.members.append(&mut other.members);
        for (element, theirs) in other.children {
            match self.children.get_mut(&element) {
                Some(ours) => ours.absorb(theirs),
                None => {
                    self.children.insert(element, theirs);
                }
            }
        }
    }

    /// Whether every path is one of `other` too.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        self.members.is_subset(&other.members)
            && self.children.iter().all(|(element, ours)| {
                ours.is_empty() || other.children.get(element).is_some_and(|theirs| ours.is_within(theirs))
            })
    }

    /// Every path, printed as conflicts print it, in order.
    pub fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.collect("", &mut out);
        out
    }

    fn collect(&self, prefix: &str, out: &mut Vec<String>) {
        let mut elements: BTreeSet<&PathElement> = self.members.iter().collect();
        elements.extend(self.children.keys());
        for element in elements {
            let path = format!("{prefix}{element}");
            if self.members.contains(element) {
                out.push(path.clone());
            }
            if let Some(child) = self.children.get(element) {
                child.collect(&path, out);
            }
        }
    }

    /// As FieldsV1.
    pub fn to_fields(&self) -> Value {
        let mut elements: BTreeSet<&PathElement> = self.members.iter().collect();
        elements.extend(self.children.keys());
        let mut map = Map::new();
        for element in elements {
            let mut inner = match self.children.get(element).map(Self::to_fields) {
                Some(Value::Object(inner)) => inner,
                _ => Map::new(),
            };
            if self.members.contains(element) && !inner.is_empty() {
                inner.shift_insert(0, ".".to_owned(), Value::Object(Map::new()));
            }
            map.insert(element.encode(), Value::Object(inner));
        }
        Value::Object(map)
    }

    /// From FieldsV1; `None` when it is not well-formed.
    pub fn from_fields(fields: &Value) -> Option<Self> {
        Self::read(fields.as_object()?, DEPTH_MAX)
    }

    fn read(fields: &Map<String, Value>, depth: usize) -> Option<Self> {
        let depth = depth.checked_sub(1)?;
        let mut set = Self::new();
        for (key, below) in fields {
            if key == "." {
                continue;
            }
            let element = PathElement::decode(key)?;
            let below = below.as_object()?;
            if below.is_empty() {
                set.members.insert(element);
                continue;
            }
            if below.contains_key(".") {
                set.members.insert(element.clone());
            }
            set.insert_child(element, Self::read(below, depth)?);
        }
        Some(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn fields_v1_round_trips() {
        let fields = json!({"f:metadata": {"f:labels": {".": {}, "f:app": {}}}, "f:spec": {
            "f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:image": {}}},
            "f:finalizers": {"v:\"x\"": {}}, "f:list": {"i:0": {}}}});
        let set = FieldSet::from_fields(&fields).unwrap();
        assert_eq!(set.to_fields().to_string(), fields.to_string());
        assert_eq!(
            set.paths(),
            [
                ".metadata.labels",
                ".metadata.labels.app",
                ".spec.containers[name=\"a\"]",
                ".spec.containers[name=\"a\"].image",
                ".spec.finalizers[=\"x\"]",
                ".spec.list[0]"
            ]
        );
        for bad in [json!([]), json!({"x": {}}), json!({"f:a": 1}), json!({"k:1": {}}), json!({"i:x": {}})] {
            assert_eq!(FieldSet::from_fields(&bad), None, "{bad}");
        }
    }

    fn field_set() -> impl Strategy<Value = FieldSet> {
        let element = prop_oneof![
            "[a-c]".prop_map(|name| PathElement::field(&name)),
            (0..3i64).prop_map(|n| PathElement::Value(Value::from(n))),
            "[a-b]".prop_map(|n| PathElement::Key(vec![("name".to_owned(), Value::from(n))])),
        ];
        let members = proptest::collection::btree_set(element.clone(), 0..4);
        let leaf = members.clone().prop_map(|members| FieldSet { members, children: BTreeMap::new() });
        leaf.prop_recursive(3, 16, 4, move |inner| {
            (members.clone(), proptest::collection::btree_map(element.clone(), inner, 0..3)).prop_map(
                |(members, children)| FieldSet {
                    members,
                    children: children.into_iter().filter(|(_, c)| !c.is_empty()).collect(),
                },
            )
        })
    }

    proptest! {
        #[test]
        fn set_algebra(a in field_set(), b in field_set()) {
            let paths = |set: &FieldSet| set.paths().into_iter().collect::<BTreeSet<_>>();
            let (pa, pb) = (paths(&a), paths(&b));
            prop_assert_eq!(paths(&a.union(&b)), pa.union(&pb).cloned().collect::<BTreeSet<_>>());
            prop_assert_eq!(paths(&a.intersection(&b)), pa.intersection(&pb).cloned().collect::<BTreeSet<_>>());
            prop_assert_eq!(paths(&a.difference(&b)), pa.difference(&pb).cloned().collect::<BTreeSet<_>>());
            prop_assert!(a.recursive_difference(&b).difference(&a.difference(&b)).is_empty());
            let (mut less, mut more) = (a.clone(), a.clone());
            less.subtract(&b);
            prop_assert_eq!(&less, &a.difference(&b));
            more.absorb(b.clone());
            prop_assert_eq!(&more, &a.union(&b));
            prop_assert_eq!(a.is_within(&b), less.is_empty());
            prop_assert_eq!(FieldSet::from_fields(&a.to_fields()), Some(a));
        }
    }
}
