//! Server-side apply and the bookkeeping of field owners (KEP-555, documentation "Server-Side Apply").
//!
//! [`apply`] merges an applied configuration into an object, finds conflicts with other managers and removes
//! what its manager no longer applies; [`update`] records who changed what in a plain write. Both are pure:
//! objects are trees, the clock is a value.
//!
//! Deliberately absent: HTTP, defaulting, admission, and conversion between versions of a kind: a manager's
//! fields recorded at another version are compared by the same paths.

mod compare;
mod conflict;
mod managed;
mod merge;
mod path;
mod set;
mod typed;

pub use path::PathElement;
pub use set::FieldSet;

use crate::schema::Schema;
use crate::status::{Reason, Status};
use managed::{Entry, Managed, Manager};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::LazyLock;
use typed::Typed;

/// Where `kubectl apply` keeps the manifest that it applied last.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Manager of what an object had before anyone applied to it without its owners being known.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Fields that nobody owns.
static STRIPPED: LazyLock<FieldSet> = LazyLock::new(|| {
    let metadata = [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    ];
    let paths: Vec<[&str; 2]> = metadata.iter().map(|name| ["metadata", *name]).collect();
    let mut paths: Vec<&[&str]> = paths.iter().map(<[&str; 2]>::as_slice).collect();
    paths.extend([&["apiVersion"] as &[&str], &["kind"], &["metadata"]]);
    FieldSet::of_fields(&paths)
});

/// The circumstances of a write.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    /// Name of the field manager, see [`manager_name`].
    pub manager: &'a str,
    /// `apiVersion` that the request speaks.
    pub api_version: &'a str,
    /// Subresource written through, empty for the main resource.
    pub subresource: &'a str,
    /// Now, as RFC 3339 in UTC to the second.
    pub time: &'a str,
    /// Fields that this endpoint does not write (`status` at the main resource, `spec` at `/status`): with all
    /// that is below them they get no owner.
    pub reset: &'a FieldSet,
}

impl Write<'_> {
    fn manager(&self, applies: bool) -> Manager {
        Manager {
            applies,
            name: self.manager.to_owned(),
            version: if applies { String::new() } else { self.api_version.to_owned() },
            subresource: self.subresource.to_owned(),
        }
    }

    fn entry(&self, set: FieldSet) -> Entry {
        Entry { version: self.api_version.to_owned(), time: self.time.to_owned(), set }
    }
}

/// The manager's name: the request's `fieldManager`, or the user agent up to its first slash, at most 128 bytes.
pub fn manager_name(field_manager: &str, user_agent: &str) -> String {
    if !field_manager.is_empty() {
        return field_manager.to_owned();
    }
    let name = user_agent.split('/').next().unwrap_or_default();
    let name: String = name.chars().filter(|c| !c.is_control()).collect();
    let mut end = name.len().min(128);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].to_owned()
}

/// Records in `new` who owns what, after a create (`live` is `None`), a replacement or a patch other than
/// apply. `new` is defaulted; its own `managedFields` are what the client sent (or the live ones after a
/// patch). An object that exists without any managers stays without.
pub fn update<S: Schema>(schema: &S, ty: S::Type, live: Option<&Value>, new: &mut Value, write: &Write<'_>) {
    let typed = Typed(schema);
    let nothing = Value::Object(Map::new());
    let known = live.and_then(Managed::decode).unwrap_or_default();
    let before = if !write.subresource.is_empty() {
        known.clone()
    } else if Managed::is_reset(new) {
        Managed::default()
    } else {
        Managed::decode(new).filter(|managed| !managed.0.is_empty()).unwrap_or_else(|| known.clone())
    };
    if live.is_some() && before.0.is_empty() {
        before.encode(new);
        return;
    }
    let mut managed = before;
    // The managers themselves are one value, which is stripped below: no need for copies without them.
    let changes = typed.compare(Some(ty), live.unwrap_or(&nothing), new);
    let changes = changes.exclude(write.reset);
    let manager = write.manager(false);
    let mut taken = changes.modified;
    taken.absorb(changes.added);
    let mut own = FieldSet::new();
    for (known, entry) in &mut managed.0 {
        entry.set.subtract(&changes.removed);
        if *known == manager {
            own = std::mem::take(&mut entry.set);
        } else {
            entry.set.subtract(&taken);
        }
    }
    let is_change = !taken.is_within(&STRIPPED);
    own.absorb(taken);
    if is_change {
        managed.0.insert(manager, write.entry(own));
    } else if let Some(entry) = managed.0.get_mut(&manager) {
        // Whoever only removes fields keeps the time of the last change.
        entry.set = own;
    }
    managed.strip(&STRIPPED);
    managed.cap();
    managed.encode(new);
}

/// `live` with everything that `config` sets, merged as the schema says, without regard to managers.
pub fn merge<S: Schema>(schema: &S, ty: S::Type, live: &Value, config: &Value) -> Value {
    Typed(schema).merge(Some(ty), live, config)
}

/// Applies `config` to `live` (`None`: it does not exist yet) and answers the new object with its managers,
/// not yet defaulted. Without `force`, 409 with a cause for each field that another manager has another value
/// for. 400 when `config` has the wrong version or carries managers; 500, as upstream, when it does not fit
/// the schema.
pub fn apply<S: Schema>(
    schema: &S,
    ty: S::Type,
    live: Option<&Value>,
    config: &Value,
    write: &Write<'_>,
    force: bool,
) -> Result<Value, Status> {
    let typed = Typed(schema);
    check_config(&typed, ty, config, write)?;
    let config = &without_null_timestamp(config);
    let nothing = Value::Object(Map::new());
    let old = unmanaged(live.unwrap_or(&nothing));
    let mut managed = live.and_then(Managed::decode).unwrap_or_default();
    if live.is_some() && managed.0.is_empty() {
        // Nobody is known: what is there was there before.
        let set = typed.compare(Some(ty), &nothing, &old).added.difference(&STRIPPED);
        let first = Write { manager: BEFORE_FIRST_APPLY, ..*write };
        managed.0.insert(first.manager(false), first.entry(set));
        managed.prune();
    }
    let request = Request { typed: &typed, ty, old: &old, config, write };
    let (mut new, managed) = match request.apply(managed.clone(), force) {
        Ok(done) => done,
        Err(conflicts) if write.manager == "kubectl" && request.are_last_applied(&conflicts) => {
            request.apply(managed, true).map_err(|conflicts| conflict::status(&conflicts))?
        }
        Err(conflicts) => return Err(conflict::status(&conflicts)),
    };
    if write.manager == "kubectl" {
        follow_last_applied(&mut new, config);
    }
    managed.encode(&mut new);
    Ok(new)
}

fn check_config<S: Schema>(
    typed: &Typed<'_, S>,
    ty: S::Type,
    config: &Value,
    write: &Write<'_>,
) -> Result<(), Status> {
    let text = |path: &str| config.pointer(path).and_then(Value::as_str).unwrap_or_default();
    if text("/apiVersion") != write.api_version {
        return Err(Status::bad_request(format!(
            "Incorrect version specified in apply patch. Specified patch version: {}, expected: {}",
            text("/apiVersion"),
            write.api_version
        )));
    }
    if config.pointer("/metadata/managedFields").is_some_and(|fields| !fields.is_null()) {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let mut errors = Vec::new();
    typed.check(Some(ty), config, "", &mut errors);
    let errors = match errors.as_slice() {
        [] => return Ok(()),
        [one] => one.clone(),
        many => format!("errors:\n  {}", many.join("\n  ")),
    };
    let namespace = text("/metadata/namespace");
    let slash = if namespace.is_empty() { "" } else { "/" };
    Err(Status::new(
        500,
        Reason::Unknown,
        format!(
            "failed to create typed patch object ({namespace}{slash}{}; {}, Kind={}): {errors}",
            text("/metadata/name"),
            write.api_version,
            text("/kind")
        ),
    ))
}

/// Generated manifests carry `creationTimestamp: null`, which means nothing.
fn without_null_timestamp(config: &Value) -> Value {
    let mut config = config.clone();
    if let Some(metadata) = config.get_mut("metadata").and_then(Value::as_object_mut)
        && metadata.get("creationTimestamp").is_some_and(Value::is_null)
    {
        metadata.shift_remove("creationTimestamp");
    }
    config
}

/// An object without its managers.
fn unmanaged(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("managedFields");
    }
    object
}

struct Request<'a, 's, S: Schema> {
    typed: &'a Typed<'s, S>,
    ty: S::Type,
    old: &'a Value,
    config: &'a Value,
    write: &'a Write<'a>,
}

type Conflicts = BTreeMap<Manager, FieldSet>;

impl<S: Schema> Request<'_, '_, S> {
    fn apply(&self, mut managed: Managed, force: bool) -> Result<(Value, Managed), Conflicts> {
        let (typed, ty) = (self.typed, Some(self.ty));
        let manager = self.write.manager(true);
        let last = managed.0.get(&manager).cloned();
        let set = typed.field_set(ty, self.config).recursive_difference(self.write.reset);
        let own = set.difference(&STRIPPED);
        managed.0.insert(manager.clone(), self.write.entry(set));

        let merged = typed.merge(ty, self.old, self.config);
        let new = match &last {
            // What pruning emptied may be applied as empty: merging again brings that back.
            Some(last) if !last.set.is_empty() => {
                typed.merge(ty, &self.prune(&merged, &managed, &last.set), self.config)
            }
            _ => merged,
        };

        let changes = typed.compare(ty, self.old, &new).exclude(self.write.reset);
        let taken = changes.modified.union(&changes.added);
        let mut conflicts = Conflicts::new();
        for (other, entry) in managed.0.iter_mut().filter(|(other, _)| **other != manager) {
            let conflict = entry.set.intersection(&taken);
            if !conflict.is_empty() {
                entry.set = entry.set.difference(&conflict);
                conflicts.insert(other.clone(), conflict);
            }
            entry.set = entry.set.difference(&changes.removed);
        }
        if !force && !conflicts.is_empty() {
            return Err(conflicts);
        }
        // Whoever applies the same again keeps the time of the last change.
        let entry = match last {
            Some(last) if last.set == own && new == *self.old => last,
            _ => self.write.entry(own),
        };
        managed.0.insert(manager, entry);
        managed.strip(&STRIPPED);
        Ok((new, managed))
    }

    /// Removes what the manager applied last time, not this time, and nobody else owns.
    fn prune(&self, merged: &Value, managed: &Managed, last: &FieldSet) -> Value {
        let (typed, ty) = (self.typed, Some(self.ty));
        let named = |set: &FieldSet| typed.with_named_parents(ty, set);
        let all = named(&typed.field_set(ty, merged));
        let last = named(last);
        let without = typed.remove(ty, merged, &last);
        // Back with what others, or the new configuration, own.
        let owned = managed.0.values().fold(FieldSet::new(), |all, entry| all.union(&entry.set));
        let left = named(&typed.field_set(ty, &without));
        let kept = typed.remove(ty, merged, &all.difference(&left.union(&named(&owned))));
        // Back with what was never this manager's, such as defaults inside a list item.
        let left = named(&typed.field_set(ty, &kept));
        typed.remove(ty, merged, &all.difference(&left).intersection(&last))
    }

    /// Whether every conflict is about a field that `kubectl apply` set with its present value: then moving
    /// from client-side to server-side apply takes it over.
    fn are_last_applied(&self, conflicts: &Conflicts) -> bool {
        let annotation = self.old.pointer("/metadata/annotations").and_then(|a| a.get(LAST_APPLIED));
        let Some(text) = annotation.and_then(Value::as_str) else { return false };
        let Ok(applied) = crate::codec::json::decode_lenient(text.as_bytes()) else { return false };
        if applied.get("apiVersion").and_then(Value::as_str) != Some(self.write.api_version) {
            return false;
        }
        let changes = self.typed.compare(Some(self.ty), &applied, self.old);
        let allowed = self
            .typed
            .field_set(Some(self.ty), &applied)
            .difference(&changes.modified)
            .difference(&changes.added)
            .difference(&changes.removed);
        conflicts.values().all(|set| set.difference(&allowed).is_empty())
    }
}

/// Keeps the annotation of client-side apply, where there is one, in step with what kubectl applies.
fn follow_last_applied(new: &mut Value, config: &Value) {
    let annotations = new.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    let Some(annotation) = annotations.and_then(|annotations| annotations.get_mut(LAST_APPLIED)) else {
        return;
    };
    let mut config = config.clone();
    if let Some(annotations) = config.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.shift_remove(LAST_APPLIED);
    }
    let text = config.to_string();
    if text.len() <= crate::names::ANNOTATIONS_MAX {
        *annotation = Value::from(text + "\n");
    }
}

#[cfg(test)]
mod tests;
