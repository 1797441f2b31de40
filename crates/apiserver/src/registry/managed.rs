//! Managed fields: who owns which field, kept up to date on every write (KEP-555). The rules are
//! `machinery::apply`; this file brings them the objects and the circumstances.

use super::update::Current;
use super::{Caller, Registry};
use api::schema::{BuiltIn, Structural};
use api::transport::WriteOptions;
use api::{Object, ResourceDef};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use machinery::apply::{self, FieldSet, Write};
use machinery::schema::Deduced;
use machinery::{GroupVersion, Status};
use serde_json::Value;
use std::sync::LazyLock;

/// What the main endpoint of a kind with a `status` subresource does not write.
static STATUS: LazyLock<FieldSet> = LazyLock::new(|| FieldSet::of_fields(&[&["status"]]));
/// What `/status` does not write.
static SPEC: LazyLock<FieldSet> = LazyLock::new(|| FieldSet::of_fields(&[&["spec"]]));
static NOTHING: LazyLock<FieldSet> = LazyLock::new(FieldSet::new);

fn reset(def: &ResourceDef, subresource: &str) -> &'static FieldSet {
    match subresource {
        "status" => &SPEC,
        _ if def.has_subresource("status") => &STATUS,
        _ => &NOTHING,
    }
}

/// Whether a write changes nothing but the times at which managers last wrote: such a write is none. Upstream compares
/// after defaulting too, since what an apply leaves to defaults looks like a change before.
pub(super) fn differs_in_times(new: &mut dyn Object, old: &dyn Object) -> bool {
    let entries = |object: &dyn Object| object.meta().managed_fields.clone().unwrap_or_default();
    let timeless = |mut entries: Vec<ManagedFieldsEntry>| {
        entries.iter_mut().for_each(|entry| entry.time = None);
        entries
    };
    let (now, was) = (entries(new), entries(old));
    if now == was || now.len() != was.len() || timeless(now) != timeless(was) {
        return false;
    }
    let times = new.meta_mut().managed_fields.take();
    let version =
        std::mem::replace(&mut new.meta_mut().resource_version, old.meta().resource_version.clone());
    new.meta_mut().managed_fields.clone_from(&old.meta().managed_fields);
    let is_same = new.equals(old);
    let meta = new.meta_mut();
    (meta.managed_fields, meta.resource_version) = (times, version);
    is_same
}

fn tree(object: &dyn Object) -> Result<Value, Status> {
    serde_json::from_slice(&object.to_json()).map_err(Status::internal)
}

/// The circumstances of one write, owned.
struct Circumstances {
    manager: String,
    api_version: String,
    subresource: String,
    time: String,
    reset: &'static FieldSet,
}

impl Circumstances {
    fn write(&self) -> Write<'_> {
        Write {
            manager: &self.manager,
            api_version: &self.api_version,
            subresource: &self.subresource,
            time: &self.time,
            reset: self.reset,
        }
    }
}

impl Registry {
    fn circumstances(
        &self,
        def: &ResourceDef,
        manager: Option<&str>,
        fallback: &str,
        subresource: &str,
    ) -> Circumstances {
        let gv = GroupVersion { group: def.gvk.group.clone(), version: def.gvk.version.clone() };
        Circumstances {
            manager: manager.filter(|manager| !manager.is_empty()).unwrap_or(fallback).to_owned(),
            api_version: gv.to_string(),
            subresource: subresource.to_owned(),
            time: self.now().to_string(),
            reset: reset(def, subresource),
        }
    }

    /// Records the creation's fields.
    pub(super) fn track_create(
        &self,
        caller: &Caller,
        def: &ResourceDef,
        object: &mut dyn Object,
        options: &WriteOptions,
    ) -> Result<(), Status> {
        let how = self.circumstances(def, options.field_manager.as_deref(), &caller.manager, "");
        self.track(def, object, None, &how)
    }

    /// Records the fields that an update changes.
    pub(super) fn track_update(
        &self,
        caller: &Caller,
        def: &ResourceDef,
        new: &mut dyn Object,
        old: &dyn Object,
        subresource: &str,
        options: &WriteOptions,
    ) -> Result<(), Status> {
        let how = self.circumstances(def, options.field_manager.as_deref(), &caller.manager, subresource);
        self.track(def, new, Some(old), &how)
    }

    /// The object that results from applying `config` on the current one; not defaulted yet.
    pub(super) fn merge_applied(
        &self,
        def: &ResourceDef,
        subresource: &str,
        config: &Value,
        current: Option<&Current>,
        options: &WriteOptions,
    ) -> Result<Value, Status> {
        let how = self.circumstances(def, options.field_manager.as_deref(), "", subresource);
        let live = current.map(|current| tree(current.object.as_ref())).transpose()?;
        let (live, force) = (live.as_ref(), options.force);
        if let Some(ty) = BuiltIn.root(&def.gvk) {
            return apply::apply(&BuiltIn, ty, live, config, &how.write(), force);
        }
        match self.customs().schema(&def.gvk) {
            Some(schema) => {
                let schema = Structural(&schema);
                apply::apply(&schema, schema.root(), live, config, &how.write(), force)
            }
            None => apply::apply(&Deduced, (), live, config, &how.write(), force),
        }
    }

    fn track(
        &self,
        def: &ResourceDef,
        new: &mut dyn Object,
        old: Option<&dyn Object>,
        how: &Circumstances,
    ) -> Result<(), Status> {
        let live = old.map(tree).transpose()?;
        let (live, mut value) = (live.as_ref(), tree(new)?);
        match (BuiltIn.root(&def.gvk), self.customs().schema(&def.gvk)) {
            (Some(ty), _) => apply::update(&BuiltIn, ty, live, &mut value, &how.write()),
            (None, Some(schema)) => {
                let schema = Structural(&schema);
                apply::update(&schema, schema.root(), live, &mut value, &how.write());
            }
            (None, None) => apply::update(&Deduced, (), live, &mut value, &how.write()),
        }
        let entries = value.get_mut("metadata").and_then(|metadata| metadata.get_mut("managedFields"));
        let entries = entries.map(Value::take).filter(|entries| !entries.is_null());
        let entries: Option<Vec<ManagedFieldsEntry>> =
            entries.map(serde_json::from_value).transpose().map_err(Status::internal)?;
        new.meta_mut().managed_fields = entries;
        Ok(())
    }
}
