//! Create.

use super::commit::Committed;
use super::update::Written;
use super::{Caller, Registry, Reservation, decode, group_resource, policy};
use crate::contract::{AdmissionRequest, Operation};
use crate::storage;
use api::transport::WriteOptions;
use api::{Object, ResourceDef, StoredObject, meta};
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, Reason, Status};
use std::sync::Arc;

/// How often a generated name that is taken is replaced (upstream: 8 attempts in all).
const NAME_ATTEMPTS: usize = 8;

impl Registry {
    /// Creates an object from a body.
    pub async fn create(
        &self,
        caller: &Caller,
        def: &Arc<ResourceDef>,
        namespace: &str,
        body: &[u8],
        options: &WriteOptions,
    ) -> Result<Written, Status> {
        let object = decode::object(caller, def, body, options.field_validation.as_deref())?;
        self.create_object(caller, def, namespace, object, options, false).await
    }

    /// Creates an object that was decoded and defaulted. `tracked` says that its managed fields are up to date.
    pub(super) async fn create_object(
        &self,
        caller: &Caller,
        def: &Arc<ResourceDef>,
        namespace: &str,
        mut object: Box<dyn Object>,
        options: &WriteOptions,
        tracked: bool,
    ) -> Result<Written, Status> {
        check_namespace(def, namespace, object.as_mut())?;
        if object.meta().resource_version.as_deref().is_some_and(|rv| !rv.is_empty() && rv != "0") {
            return Err(Status::internal("resourceVersion should not be set on objects to be created"));
        }
        let now = self.now();
        let given = object.meta().name.clone().unwrap_or_default();
        let prefix = object.meta().generate_name.clone().unwrap_or_default();
        let generated = given.is_empty() && !prefix.is_empty();
        let mut request = AdmissionRequest {
            operation: Operation::Create,
            user: caller.user.clone(),
            def: def.clone(),
            subresource: "".into(),
            namespace: namespace.to_owned(),
            name: given,
            object: None,
            old: None,
            dry_run: options.dry_run,
            options: super::update::options_json("CreateOptions", options),
            warnings: crate::contract::Warnings::default(),
        };
        let mut next = Some(object);
        for attempt in 1..=NAME_ATTEMPTS {
            // Only a generated name is tried again.
            let Some(mut attempt_object) = next.take() else { break };
            if generated {
                next = Some(attempt_object.clone_object());
            }
            self.prepare(def, attempt_object.as_mut(), generated.then_some(prefix.as_str()), now);
            if !tracked {
                self.track_create(caller, def, attempt_object.as_mut(), options)?;
            }
            request.name = attempt_object.meta().name.clone().unwrap_or_default();
            request.object = Some(attempt_object);
            self.admit(caller, &mut request).await?;
            let reservation = match (self.plugins()?.hooks.get(&def.storage), &mut request.object) {
                (Some(hook), Some(object)) => hook.before(object.as_mut(), None, options.dry_run).await?,
                _ => Reservation::none(),
            };
            let candidate = Self::validate_new(caller, def, &mut request)?;
            request.object = Some(candidate);
            self.admit_validate(caller, &request).await?;
            let Some(candidate) = request.object.take() else { break };
            match self.commit_new(def, namespace, candidate, options, reservation).await? {
                Some(object) => return Ok(Written { object, created: true }),
                None if generated && attempt < NAME_ATTEMPTS => {}
                None if generated => {
                    let mut status = Status::already_exists(&group_resource(def), &request.name);
                    status
                        .message
                        .push_str(", the server was not able to generate a unique name for the object");
                    return Err(status);
                }
                None => return Err(Status::already_exists(&group_resource(def), &request.name)),
            }
        }
        Err(Status::new(500, Reason::InternalError, "an admission plugin took the object away"))
    }

    fn prepare(&self, def: &ResourceDef, object: &mut dyn Object, prefix: Option<&str>, now: Timestamp) {
        meta::prepare_create(object.meta_mut(), now, fresh_uid());
        if let Some(prefix) = prefix {
            let name = meta::generate_name(prefix, |below| rand::random_range(0..below.max(1)));
            object.meta_mut().name = Some(name);
        }
        def.strategy.prepare_create(object);
    }

    fn validate_new(
        caller: &Caller,
        def: &ResourceDef,
        request: &mut AdmissionRequest,
    ) -> Result<Box<dyn Object>, Status> {
        let Some(mut object) = request.object.take() else {
            return Err(Status::internal("an admission plugin took the object away"));
        };
        // Plugins may have added what has defaults of its own.
        def.strategy.set_defaults(object.as_mut());
        let mut errors = FieldErrors::new();
        meta::validate_create(object.meta(), def.namespaced, def.check_name, &mut errors);
        errors.extend(def.strategy.validate_create(object.as_ref()));
        crate::expressions::validate(def, object.as_ref(), None, &mut errors);
        policy::forgive(def, &mut errors);
        if !errors.is_empty() {
            let name = object.meta().name.clone().unwrap_or_default();
            return Err(Status::invalid(&def.gvk.group_kind(), &name, &errors));
        }
        caller.warn(def.strategy.warnings(object.as_ref(), None));
        Ok(object)
    }

    /// Stores a new object; `None` when its name is taken.
    async fn commit_new(
        &self,
        def: &ResourceDef,
        namespace: &str,
        mut object: Box<dyn Object>,
        options: &WriteOptions,
        reservation: Reservation,
    ) -> Result<Option<Arc<StoredObject>>, Status> {
        let name = object.meta().name.clone().unwrap_or_default();
        let key = storage::key(&def.storage, namespace, &name);
        if options.dry_run {
            if self.read_store(key).await?.is_some() {
                return Ok(None);
            }
            return StoredObject::from_object(object).map(|o| Some(Arc::new(o))).map_err(Status::internal);
        }
        let value = self.stored_bytes(def, object.as_mut()).await?;
        let lease = self.lease_of(def).await?;
        let committed = match self.put(key, 0, value, lease).await {
            Ok(committed) => committed,
            Err(status) => {
                reservation.leave();
                return Err(status);
            }
        };
        match committed {
            Committed::Changed(_) => Ok(None),
            Committed::Done(stored) => {
                reservation.keep().await;
                if def.conversion.is_none() {
                    return Ok(Some(stored));
                }
                object.meta_mut().resource_version = Some(stored.revision().to_string());
                StoredObject::from_object(object).map(|o| Some(Arc::new(o))).map_err(Status::internal)
            }
        }
    }

    /// The lease for objects that expire by themselves; 0 for all others.
    pub(super) async fn lease_of(&self, def: &ResourceDef) -> Result<store::LeaseId, Status> {
        if def.storage.group.is_empty() && def.storage.resource == "events" {
            return self.leases.get().await.map_err(|error| storage::status(&error));
        }
        Ok(0)
    }
}

/// A random UID (version 4, RFC 9562) from the thread's generator, which needs no system call for each.
pub(crate) fn fresh_uid() -> String {
    uid_of(rand::random())
}

/// The UUID (version 4, RFC 9562) of these bits.
pub(crate) fn uid_of(mut bits: [u8; 16]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bits[6] = bits[6] & 0x0f | 0x40;
    bits[8] = bits[8] & 0x3f | 0x80;
    let mut text = String::with_capacity(36);
    for (at, byte) in bits.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 0x0f)]));
    }
    text
}

/// The namespace of the body must be that of the path; a missing one is filled in.
pub(super) fn check_namespace(
    def: &ResourceDef,
    namespace: &str,
    object: &mut dyn Object,
) -> Result<(), Status> {
    let meta = object.meta_mut();
    let found = meta.namespace.as_deref().unwrap_or_default();
    if def.namespaced {
        if namespace.is_empty() {
            return Err(Status::bad_request("an empty namespace may not be set during creation"));
        }
        if found.is_empty() {
            meta.namespace = Some(namespace.to_owned());
        } else if found != namespace {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
    } else if found.is_empty() {
        meta.namespace = None;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_are_random_uuids() {
        let text = uid_of([0xff; 16]);
        assert_eq!(text, "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(uuid::Uuid::parse_str(&fresh_uid()).unwrap().get_version_num(), 4);
    }
}
