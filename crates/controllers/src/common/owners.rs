//! Owner references: who controls an object, and telling the owner when it changes.

use api::{Kind, Object};
use client::{Informer, ObjectKey, WorkQueue};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use machinery::GroupVersion;
use serde_json::{Value, json};

/// The reference to the controller of an object.
pub(crate) fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// Whether `owner` controls the object.
pub(crate) fn is_controlled_by(meta: &ObjectMeta, owner: &ObjectMeta) -> bool {
    controller_of(meta).is_some_and(|reference| Some(&reference.uid) == owner.uid.as_ref())
}

/// A reference to `owner` as the controller.
pub(crate) fn controller_reference(owner: &dyn Object) -> OwnerReference {
    let (gvk, meta) = (owner.gvk(), owner.meta());
    OwnerReference {
        api_version: gvk.api_version(),
        kind: gvk.kind.into_owned(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// A reference as JSON, for patches.
pub(crate) fn to_json(owner: &OwnerReference) -> Value {
    let mut value = json!({
        "apiVersion": owner.api_version, "kind": owner.kind, "name": owner.name, "uid": owner.uid,
    });
    if let Some(controller) = owner.controller {
        value["controller"] = controller.into();
    }
    if let Some(block) = owner.block_owner_deletion {
        value["blockOwnerDeletion"] = block.into();
    }
    value
}

/// Whether a reference names a `K`, in whatever version.
pub(crate) fn refers_to<K: Kind>(reference: &OwnerReference) -> bool {
    reference.kind == K::KIND
        && GroupVersion::parse(&reference.api_version).is_some_and(|version| version.group == K::GROUP)
}

/// Queues an object whenever it changes.
pub(crate) fn enqueue<K: Kind>(informer: &Informer<K>, queue: &WorkQueue<ObjectKey>) {
    let queue = queue.clone();
    informer.on_event(move |event| queue.add(ObjectKey::of(event.object().meta())));
}

/// Queues the controlling `Owner` of an object whenever the object changes; also the former one.
pub(crate) fn enqueue_controller<Owner: Kind, K: Kind>(informer: &Informer<K>, queue: &WorkQueue<ObjectKey>) {
    let queue = queue.clone();
    informer.on_event(move |event| {
        for object in [Some(event.object()), event.old()].into_iter().flatten() {
            if let Some(owner) = controller_of(object.meta()).filter(|owner| refers_to::<Owner>(owner)) {
                queue.add(ObjectKey::new(object.meta().namespace.as_deref().unwrap_or(""), &owner.name));
            }
        }
    });
}

/// Queues every `Owner` of the namespace that `selects` an object nobody controls, so that it may be adopted.
pub(crate) fn enqueue_adopters<Owner: Kind, K: Kind>(
    informer: &Informer<K>,
    owners: &Informer<Owner>,
    queue: &WorkQueue<ObjectKey>,
    selects: fn(&Owner, &ObjectMeta) -> bool,
) {
    let (queue, owners) = (queue.clone(), owners.clone());
    informer.on_event(move |event| {
        let meta = event.object().meta();
        if controller_of(meta).is_some() || event.is_deleted() {
            return;
        }
        for owner in owners.store().list_in(meta.namespace.as_deref().unwrap_or("")) {
            if selects(&owner, meta) {
                queue.add(ObjectKey::of(owner.meta()));
            }
        }
    });
}
