//! The client's side of strategic merge patches: the patch between two objects.

use super::strategic::{
    DELETE_PREFIX, ORDER_PREFIX, PATCH, RETAIN_KEYS, StrategicError, element, lookup, no_merge_key,
};
use crate::schema::Schema;
use serde_json::{Map, Value, json};

/// What a diff reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Everything.
    All,
    /// Only what is gone.
    Deletions,
    /// Only what is new or changed.
    Additions,
}

/// The strategic merge patch that makes `modified` of `original`, objects of type `ty`.
pub fn two_way<S: Schema>(
    original: &Value,
    modified: &Value,
    schema: &S,
    ty: S::Type,
) -> Result<Value, StrategicError> {
    let (Some(original), Some(modified)) = (original.as_object(), modified.as_object()) else {
        return Err(StrategicError::NotAnObject);
    };
    let diff = Diff { schema, part: Part::All, order: false };
    Ok(Value::Object(diff.maps(original, modified, Some(ty), false)?))
}

pub(super) struct Diff<'a, S> {
    pub(super) schema: &'a S,
    pub(super) part: Part,
    /// Whether changed lists come with `$setElementOrder`.
    pub(super) order: bool,
}

impl<S: Schema> Diff<'_, S> {
    fn additions(&self) -> bool {
        self.part != Part::Deletions
    }

    fn deletions(&self) -> bool {
        self.part != Part::Additions
    }

    pub(super) fn maps(
        &self,
        original: &Map<String, Value>,
        modified: &Map<String, Value>,
        ty: Option<S::Type>,
        retain_keys: bool,
    ) -> Result<Map<String, Value>, StrategicError> {
        let mut patch = Map::new();
        for (key, new) in modified {
            match original.get(key) {
                Some(old) => self.values(&mut patch, key, old, new, ty)?,
                None if self.additions() => {
                    patch.insert(key.clone(), new.clone());
                }
                None => {}
            }
        }
        let gone = || original.keys().filter(|key| !modified.contains_key(*key));
        if self.deletions() {
            for key in gone() {
                patch.insert(key.clone(), Value::Null);
            }
        }
        if retain_keys && (!patch.is_empty() || gone().next().is_some()) {
            let mut keys: Vec<&String> =
                modified.iter().filter(|(_, value)| !value.is_null()).map(|(key, _)| key).collect();
            keys.sort();
            if !keys.is_empty() {
                patch.insert(RETAIN_KEYS.to_owned(), json!(keys));
            }
        }
        Ok(patch)
    }

    fn values(
        &self,
        patch: &mut Map<String, Value>,
        key: &str,
        old: &Value,
        new: &Value,
        parent: Option<S::Type>,
    ) -> Result<(), StrategicError> {
        let (ty, strategy) = lookup(self.schema, parent, key);
        match (old, new) {
            (Value::Object(old), Value::Object(new)) if !strategy.replace => {
                let inner = self.maps(old, new, ty, strategy.retain_keys)?;
                if !inner.is_empty() {
                    patch.insert(key.to_owned(), Value::Object(inner));
                }
            }
            (Value::Array(old), Value::Array(new)) if strategy.merge => {
                let lists = self.lists(old, new, ty, strategy.key, strategy.retain_keys)?;
                let rows = [
                    (String::new(), lists.items),
                    (DELETE_PREFIX.to_owned(), lists.deleted),
                    (ORDER_PREFIX.to_owned(), lists.order),
                ];
                for (prefix, list) in rows {
                    if !list.is_empty() {
                        patch.insert(prefix + key, Value::Array(list));
                    }
                }
            }
            (old, new) => {
                if self.additions() && old != new {
                    patch.insert(key.to_owned(), new.clone());
                }
            }
        }
        Ok(())
    }

    fn lists(
        &self,
        old: &[Value],
        new: &[Value],
        ty: Option<S::Type>,
        key: Option<&str>,
        retain_keys: bool,
    ) -> Result<Lists, StrategicError> {
        let mut lists = Lists::default();
        if old.is_empty() {
            if self.additions() {
                lists.items = new.to_vec();
            }
            return Ok(lists);
        }
        if old.iter().chain(new).any(Value::is_array) {
            return Err(StrategicError::ListOfLists);
        }
        if !old.iter().chain(new).any(Value::is_object) {
            if self.additions() {
                lists.items = missing(new, old);
            }
            if self.deletions() {
                lists.deleted = missing(old, new);
            }
            if self.order && (!lists.deleted.is_empty() || (self.additions() && old != new)) {
                lists.order = new.to_vec();
            }
            return Ok(lists);
        }
        let Some(key) = key else {
            return Err(StrategicError::Other("cannot merge lists without merge key".to_owned()));
        };
        let old = keyed(old, key)?;
        let new = keyed(new, key)?;
        let element = element(self.schema, ty);
        for (value, item) in &new {
            match old.iter().find(|(other, _)| other == value) {
                Some((_, before)) => {
                    let mut inner = self.maps(before, item, element, retain_keys)?;
                    if !inner.is_empty() {
                        inner.insert(key.to_owned(), (*value).clone());
                        lists.items.push(Value::Object(inner));
                    }
                }
                None if self.additions() => lists.items.push(Value::Object((*item).clone())),
                None => {}
            }
        }
        if self.deletions() {
            let gone = old.iter().filter(|(value, _)| !new.iter().any(|(other, _)| other == value));
            lists.items.extend(gone.map(|(value, _)| json!({ key: *value, PATCH: "delete" })));
        }
        let keys = |list: &Keyed<'_>| list.iter().map(|(value, _)| (*value).clone()).collect::<Vec<_>>();
        if self.order && (!lists.items.is_empty() || (self.additions() && keys(&old) != keys(&new))) {
            lists.order = new.iter().map(|(value, _)| json!({ key: *value })).collect();
        }
        Ok(lists)
    }
}

#[derive(Default)]
struct Lists {
    items: Vec<Value>,
    deleted: Vec<Value>,
    order: Vec<Value>,
}

/// The scalars of `these` that are not in `those`, each once.
fn missing(these: &[Value], those: &[Value]) -> Vec<Value> {
    let mut out: Vec<Value> = Vec::new();
    for item in these {
        if !those.contains(item) && !out.contains(item) {
            out.push(item.clone());
        }
    }
    out
}

type Keyed<'a> = Vec<(&'a Value, &'a Map<String, Value>)>;

fn keyed<'a>(list: &'a [Value], key: &str) -> Result<Keyed<'a>, StrategicError> {
    list.iter()
        .map(|item| {
            let item = item
                .as_object()
                .ok_or_else(|| StrategicError::Other("list element types are not identical".to_owned()))?;
            let value = item.get(key).ok_or_else(|| no_merge_key(item, key))?;
            Ok((value, item))
        })
        .collect()
}
