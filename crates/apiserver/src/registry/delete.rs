//! Delete of one object.

use super::commit::Committed;
use super::grace::{self, Outcome};
use super::update::uid_mismatch;
use super::{Caller, Registry, group_resource};
use crate::contract::{AdmissionRequest, Operation};
use crate::storage;
use api::transport::{DeleteOptions, Deleted, Propagation};
use api::{Object, ResourceDef, StoredObject};
use machinery::{FieldErrors, FieldPath, Status};
use serde_json::{Value, json};
use std::sync::Arc;

/// Attempts of a deletion that loses races.
const ATTEMPTS: usize = 30;

/// Options as admission plugins and webhooks see them.
fn options_json(options: &DeleteOptions) -> Value {
    let mut value = json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"});
    if let Some(seconds) = options.grace_period_seconds {
        value["gracePeriodSeconds"] = json!(seconds);
    }
    if let Some(policy) = options.propagation {
        value["propagationPolicy"] = json!(match policy {
            Propagation::Orphan => "Orphan",
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
        });
    }
    if options.uid.is_some() || options.resource_version.is_some() {
        let mut preconditions = json!({});
        if let Some(uid) = &options.uid {
            preconditions["uid"] = json!(uid);
        }
        if let Some(version) = &options.resource_version {
            preconditions["resourceVersion"] = json!(version);
        }
        value["preconditions"] = preconditions;
    }
    if options.dry_run {
        value["dryRun"] = json!(["All"]);
    }
    value
}

fn check_options(options: &DeleteOptions) -> Result<(), Status> {
    if options.grace_period_seconds.is_some_and(|seconds| seconds < 0) {
        let mut errors = FieldErrors::new();
        let seconds = options.grace_period_seconds.unwrap_or_default();
        errors.invalid(FieldPath::new("gracePeriodSeconds"), seconds, "must be greater than or equal to 0");
        return Err(Status::invalid(&machinery::GroupKind::new("", "DeleteOptions"), "", &errors));
    }
    Ok(())
}

fn check_preconditions(
    def: &ResourceDef,
    name: &str,
    options: &DeleteOptions,
    stored: &StoredObject,
) -> Result<(), Status> {
    let meta = stored.meta();
    if let Some(wanted) = &options.uid
        && meta.uid.as_ref() != Some(wanted)
    {
        return Err(uid_mismatch(def, name, wanted, meta.uid.as_deref().unwrap_or_default()));
    }
    if let Some(wanted) = &options.resource_version
        && *wanted != stored.revision().to_string()
    {
        return Err(Status::conflict(
            &group_resource(def),
            name,
            format!(
                "Precondition failed: ResourceVersion in precondition: {wanted}, ResourceVersion in object meta: {}",
                stored.revision()
            ),
        ));
    }
    Ok(())
}

impl Registry {
    /// Deletes an object, or starts its deletion.
    pub async fn delete(
        &self,
        caller: &Caller,
        def: &Arc<ResourceDef>,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Deleted, Status> {
        check_options(options)?;
        let mut stored = self.require_current(def, namespace, name).await?;
        let mut admitted = false;
        for _ in 0..ATTEMPTS {
            check_preconditions(def, name, options, &stored)?;
            let old = self.served_object(def, &stored).await?;
            if !admitted {
                self.admit_delete(caller, def, namespace, name, &old, options).await?;
                admitted = true;
            }
            let mut new = old.clone_object();
            let outcome = grace::delete(def, new.as_mut(), options, self.now());
            match self.carry_out(def, namespace, name, outcome, new, &stored, options.dry_run).await? {
                Ok(deleted) => return Ok(deleted),
                Err(Some(found)) => stored = found,
                Err(None) => return Err(Status::not_found(&group_resource(def), name)),
            }
        }
        Err(Status::stale(&group_resource(def), name))
    }

    async fn admit_delete(
        &self,
        caller: &Caller,
        def: &Arc<ResourceDef>,
        namespace: &str,
        name: &str,
        old: &Arc<dyn Object>,
        options: &DeleteOptions,
    ) -> Result<(), Status> {
        let mut request = AdmissionRequest {
            operation: Operation::Delete,
            user: caller.user.clone(),
            def: def.clone(),
            subresource: "".into(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            object: None,
            old: Some(old.clone()),
            dry_run: options.dry_run,
            options: options_json(options),
            warnings: crate::contract::Warnings::default(),
        };
        self.admit(caller, &mut request).await?;
        self.admit_validate(caller, &request).await
    }

    #[allow(clippy::too_many_arguments, reason = "one step of one loop, split for its length")]
    async fn carry_out(
        &self,
        def: &ResourceDef,
        namespace: &str,
        name: &str,
        outcome: Outcome,
        mut new: Box<dyn Object>,
        stored: &Arc<StoredObject>,
        dry_run: bool,
    ) -> Result<Result<Deleted, Option<Arc<StoredObject>>>, Status> {
        let key = storage::key(&def.storage, namespace, name);
        match outcome {
            Outcome::Nothing => Ok(Ok(Deleted::Pending(self.served(def, stored).await?))),
            Outcome::Remove if dry_run => Ok(Ok(Deleted::Gone(self.served(def, stored).await?))),
            Outcome::Mark if dry_run => {
                let marked = StoredObject::from_object(new).map_err(Status::internal)?;
                Ok(Ok(Deleted::Pending(Arc::new(marked))))
            }
            Outcome::Remove => match self.remove(key, stored).await? {
                Committed::Done(gone) => {
                    self.removed(def, new.as_ref()).await;
                    Ok(Ok(Deleted::Gone(self.served(def, &gone).await?)))
                }
                Committed::Changed(found) => Ok(Err(found)),
            },
            Outcome::Mark => {
                let value = self.stored_bytes(def, new.as_mut()).await?;
                let lease = self.lease_of(def).await?;
                match self.put(key, stored.revision(), value, lease).await? {
                    Committed::Done(marked) => Ok(Ok(Deleted::Pending(self.served(def, &marked).await?))),
                    Committed::Changed(found) => Ok(Err(found)),
                }
            }
        }
    }
}
