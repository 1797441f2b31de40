//! Update: the loop behind PUT, PATCH, `status` and every other subresource that writes its parent.

use super::commit::Committed;
use super::create::check_namespace;
use super::{Caller, Registry, Reservation, decode, group_resource, managed, policy};
use crate::contract::{AdmissionRequest, Operation, UpdateRules};
use crate::storage;
use api::transport::WriteOptions;
use api::{Object, ResourceDef, StoredObject, meta};
use machinery::field::BadValue;
use machinery::gvk::Name;
use machinery::{FieldErrors, FieldPath, Status};
use serde_json::{Value, json};
use std::sync::Arc;

/// Attempts of a write that names no resource version and loses races.
const ATTEMPTS: usize = 30;

/// The missing version as messages have always shown it.
struct ZeroVersion;

impl BadValue for ZeroVersion {
    fn print(&self) -> String {
        "0x0".to_owned()
    }
}

/// Which object of a resource, and which part of it.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    /// Namespace; empty for cluster-scoped resources.
    pub namespace: &'a str,
    /// Name.
    pub name: &'a str,
    /// Subresource; empty for the object itself.
    pub subresource: &'a str,
}

/// What a write left.
#[derive(Clone, Debug)]
pub struct Written {
    /// The object, in the version of the request.
    pub object: Arc<StoredObject>,
    /// Whether it is new.
    pub created: bool,
}

/// The object that a write starts from.
pub struct Current {
    /// As stored.
    pub stored: Arc<StoredObject>,
    /// Decoded, in the version of the request.
    pub object: Arc<dyn Object>,
}

/// Makes the new object from the current one, or from nothing where updates may create.
pub(super) type Make<'a> =
    Box<dyn Fn(&Registry, Option<&Current>) -> Result<Box<dyn Object>, Status> + Send + Sync + 'a>;

/// What a write may change.
#[derive(Clone, Copy)]
pub(super) enum Scope<'a> {
    Main,
    Status,
    Rules(&'a dyn UpdateRules),
}

/// A write of an existing object.
pub(super) struct Update<'a> {
    pub(super) def: &'a Arc<ResourceDef>,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    pub(super) subresource: Name,
    pub(super) scope: Scope<'a>,
    pub(super) options: &'a WriteOptions,
    /// `UpdateOptions` or `PatchOptions`.
    pub(super) options_kind: &'static str,
    /// Whether it creates what does not exist.
    pub(super) may_create: bool,
    /// Whether a missing resource version means "whatever is there".
    pub(super) unconditional: bool,
    /// Whether managed fields were already brought up to date (server-side apply).
    pub(super) tracked: bool,
    pub(super) make: Make<'a>,
}

/// Options as admission plugins and webhooks see them.
pub(super) fn options_json(kind: &str, options: &WriteOptions) -> Value {
    let mut value = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
    if let Some(manager) = &options.field_manager {
        value["fieldManager"] = json!(manager);
    }
    if let Some(level) = &options.field_validation {
        value["fieldValidation"] = json!(level);
    }
    if options.dry_run {
        value["dryRun"] = json!(["All"]);
    }
    value
}

impl Registry {
    /// Replaces an object, or one of its subresources that writes it.
    pub async fn update(
        &self,
        caller: &Caller,
        def: &Arc<ResourceDef>,
        at: At<'_>,
        body: &[u8],
        options: &WriteOptions,
    ) -> Result<Written, Status> {
        let At { namespace, name, subresource } = at;
        let mut object = decode::object(caller, def, body, options.field_validation.as_deref())?;
        check_namespace(def, namespace, object.as_mut())?;
        check_name(name, object.as_mut())?;
        let handler = self.subresource(def, subresource);
        let update = Update {
            def,
            namespace,
            name,
            subresource: subresource.to_owned().into(),
            scope: scope(def, subresource, handler.as_deref())?,
            options,
            options_kind: "UpdateOptions",
            may_create: subresource.is_empty() && policy::create_on_update(def),
            unconditional: policy::unconditional_update(def),
            tracked: false,
            make: Box::new(move |_, _| Ok(object.clone_object())),
        };
        self.write(caller, update).await
    }

    /// Runs a write until it is stored or refused.
    pub(super) async fn write(&self, caller: &Caller, update: Update<'_>) -> Result<Written, Status> {
        let (def, namespace, name) = (update.def, update.namespace, update.name);
        let mut current = self.read_current(def, namespace, name).await?;
        for _ in 0..ATTEMPTS {
            let Some(stored) = current else {
                if !update.may_create {
                    return Err(Status::not_found(&group_resource(def), name));
                }
                let object = (update.make)(self, None)?;
                if object.meta().uid.as_deref().is_some_and(|uid| !uid.is_empty()) {
                    return Err(uid_mismatch(
                        def,
                        name,
                        object.meta().uid.as_deref().unwrap_or_default(),
                        "",
                    ));
                }
                return self
                    .create_object(caller, def, namespace, object, update.options, update.tracked)
                    .await;
            };
            let before = Current { object: self.served_object(def, &stored).await?, stored };
            let new = (update.make)(self, Some(&before))?;
            let conditional = Self::check_version(&update, new.as_ref(), &before)?;
            match self.attempt(caller, &update, new, &before).await? {
                Committed::Done(object) => return Ok(Written { object, created: false }),
                Committed::Changed(_) if conditional => {
                    return Err(Status::stale(&group_resource(def), name));
                }
                Committed::Changed(found) => current = found,
            }
        }
        Err(Status::stale(&group_resource(def), name))
    }

    /// Whether the write insists on the current version; refuses it when that is another one.
    fn check_version(update: &Update<'_>, new: &dyn Object, before: &Current) -> Result<bool, Status> {
        let (def, name) = (update.def, update.name);
        let old = before.object.meta();
        if let (Some(wanted), Some(found)) = (new.meta().uid.as_deref(), old.uid.as_deref())
            && !wanted.is_empty()
            && wanted != found
        {
            return Err(uid_mismatch(def, name, wanted, found));
        }
        match new.meta().resource_version.as_deref().unwrap_or_default() {
            "" if update.unconditional => Ok(false),
            "" | "0" if !update.unconditional => {
                let mut errors = FieldErrors::new();
                let field = FieldPath::new("metadata").child("resourceVersion");
                errors.invalid(field, ZeroVersion, "must be specified for an update");
                Err(Status::invalid(&def.gvk.group_kind(), name, &errors))
            }
            version if version.parse() == Ok(before.stored.revision()) => Ok(true),
            version if version.parse::<u64>().is_err() => {
                Err(Status::bad_request(format!("invalid resource version {version:?}: it must be a number")))
            }
            _ => Err(Status::stale(&group_resource(def), name)),
        }
    }

    async fn attempt(
        &self,
        caller: &Caller,
        update: &Update<'_>,
        mut new: Box<dyn Object>,
        before: &Current,
    ) -> Result<Committed, Status> {
        let (def, old) = (update.def, before.object.as_ref());
        prepare(update, new.as_mut(), old);
        if !update.tracked {
            self.track_update(caller, def, new.as_mut(), old, &update.subresource, update.options)?;
        }
        let mut request = AdmissionRequest {
            operation: Operation::Update,
            user: caller.user.clone(),
            def: def.clone(),
            subresource: update.subresource.clone(),
            namespace: update.namespace.to_owned(),
            name: update.name.to_owned(),
            object: Some(new),
            old: Some(before.object.clone()),
            dry_run: update.options.dry_run,
            options: options_json(update.options_kind, update.options),
            warnings: crate::contract::Warnings::default(),
        };
        // What a binding does to its pod was admitted as a Binding.
        let is_admitted = update.subresource == "binding";
        if !is_admitted {
            self.admit(caller, &mut request).await?;
        }
        let Some(mut new) = request.object.take() else {
            return Err(Status::internal("an admission plugin took the object away"));
        };
        let reservation = match self.plugins()?.hooks.get(&def.storage) {
            Some(hook) if update.subresource.is_empty() => {
                hook.before(new.as_mut(), Some(old), update.options.dry_run).await?
            }
            _ => Reservation::none(),
        };
        validate(update, new.as_mut(), old)?;
        caller.warn(def.strategy.warnings(new.as_ref(), Some(old)));
        request.object = Some(new);
        if !is_admitted {
            self.admit_validate(caller, &request).await?;
        }
        let Some(new) = request.object.take() else {
            return Err(Status::internal("an admission plugin took the object away"));
        };
        self.store_changed(update, new, before, reservation).await
    }

    async fn store_changed(
        &self,
        update: &Update<'_>,
        mut new: Box<dyn Object>,
        before: &Current,
        reservation: Reservation,
    ) -> Result<Committed, Status> {
        let def = update.def;
        let key = storage::key(&def.storage, update.namespace, update.name);
        let value = self.stored_bytes(def, new.as_mut()).await?;
        let is_same =
            value == *before.stored.raw() || managed::differs_in_times(new.as_mut(), before.object.as_ref());
        if is_same && !self.feed.store().stale(&key) {
            // Nothing changed: upstream does not write either, so the resource version stays; unless the value is
            // encrypted with an old key.
            return Ok(Committed::Done(self.served(def, &before.stored).await?));
        }
        if update.options.dry_run {
            new.meta_mut().resource_version = Some(before.stored.revision().to_string());
            let object = StoredObject::from_object(new).map_err(Status::internal)?;
            return Ok(Committed::Done(Arc::new(object)));
        }
        let committed = if super::grace::is_finished(def, new.as_ref()) {
            self.remove(key, &before.stored).await
        } else {
            let lease = self.lease_of(def).await?;
            self.put(key, before.stored.revision(), value, lease).await
        };
        let committed = match committed {
            Ok(committed) => committed,
            Err(status) => {
                reservation.leave();
                return Err(status);
            }
        };
        let Committed::Done(stored) = committed else { return Ok(committed) };
        reservation.keep().await;
        if super::grace::is_finished(def, new.as_ref()) {
            self.removed(def, new.as_ref()).await;
        }
        if def.conversion.is_none() {
            return Ok(Committed::Done(stored));
        }
        new.meta_mut().resource_version = Some(stored.revision().to_string());
        Ok(Committed::Done(Arc::new(StoredObject::from_object(new).map_err(Status::internal)?)))
    }

    pub(super) async fn removed(&self, def: &ResourceDef, old: &dyn Object) {
        if let Some(hook) = self.plugins.get().and_then(|plugins| plugins.hooks.get(&def.storage)) {
            hook.removed(old).await;
        }
    }
}

/// Which part of the object a subresource writes.
pub(super) fn scope<'a>(
    def: &ResourceDef,
    subresource: &str,
    handler: Option<&'a dyn crate::contract::SubresourceHandler>,
) -> Result<Scope<'a>, Status> {
    if let Some(rules) = handler.and_then(|handler| handler.update_rules()) {
        return Ok(Scope::Rules(rules));
    }
    match subresource {
        "" => Ok(Scope::Main),
        "status" => Ok(Scope::Status),
        other => Err(Status::not_supported(format!("the subresource {}/{other}", def.plural))),
    }
}

fn prepare(update: &Update<'_>, new: &mut dyn Object, old: &dyn Object) {
    let (meta, before) = (new.meta_mut(), old.meta());
    meta.name.clone_from(&before.name);
    meta.namespace.clone_from(&before.namespace);
    // What only the server writes is never taken from a client.
    meta.creation_timestamp.clone_from(&before.creation_timestamp);
    meta.deletion_timestamp.clone_from(&before.deletion_timestamp);
    meta.deletion_grace_period_seconds = before.deletion_grace_period_seconds;
    meta::prepare_update(new.meta_mut(), before);
    match update.scope {
        Scope::Main => update.def.strategy.prepare_update(new, old),
        Scope::Status => {
            meta::prepare_status_update(new.meta_mut(), before);
            update.def.strategy.prepare_status_update(new, old);
        }
        Scope::Rules(rules) => rules.prepare(new, old),
    }
}

fn validate(update: &Update<'_>, new: &mut dyn Object, old: &dyn Object) -> Result<(), Status> {
    let strategy = &update.def.strategy;
    strategy.set_defaults(new);
    let mut errors = FieldErrors::new();
    meta::validate_update(new.meta(), old.meta(), &mut errors);
    errors.extend(match update.scope {
        Scope::Main => strategy.validate_update(new, old),
        Scope::Status => strategy.validate_status_update(new, old),
        Scope::Rules(rules) => rules.validate(new, old),
    });
    if let Scope::Main = update.scope {
        crate::expressions::validate(update.def, new, Some(old), &mut errors);
    }
    policy::forgive(update.def, &mut errors);
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(&update.def.gvk.group_kind(), update.name, &errors))
}

/// The name of the body must be that of the path; a missing one is filled in.
pub(super) fn check_name(name: &str, object: &mut dyn Object) -> Result<(), Status> {
    let meta = object.meta_mut();
    match meta.name.as_deref().unwrap_or_default() {
        "" => {
            meta.name = Some(name.to_owned());
            Ok(())
        }
        found if found == name => Ok(()),
        found => Err(Status::bad_request(format!(
            "the name of the object ({found}) does not match the name on the URL ({name})"
        ))),
    }
}

/// 409 for an object that was replaced by another of the same name.
pub(super) fn uid_mismatch(def: &ResourceDef, name: &str, wanted: &str, found: &str) -> Status {
    Status::conflict(
        &group_resource(def),
        name,
        format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}"),
    )
}
