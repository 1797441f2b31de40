//! Which volume suits a claim: the smallest one that is free and has all the claim asks for.

use api::common::amounts;
use api::common::selector;
use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::cmp::Ordering;
use std::sync::Arc;

/// The class of a claim; `None` when it was left out.
pub(crate) fn class_of(claim: &PersistentVolumeClaim) -> Option<&str> {
    let spec = claim.spec.as_ref();
    let annotated =
        claim.metadata.annotations.as_ref().and_then(|a| a.get("volume.beta.kubernetes.io/storage-class"));
    annotated.or_else(|| spec.and_then(|spec| spec.storage_class_name.as_ref())).map(String::as_str)
}

/// The class of a volume, empty for none.
fn class_of_volume(volume: &PersistentVolume) -> &str {
    volume.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref()).unwrap_or("")
}

/// How much a claim asks for.
pub(crate) fn request(claim: &PersistentVolumeClaim) -> Option<Quantity> {
    claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get("storage").cloned()
}

/// How much a volume holds.
pub(crate) fn capacity(volume: &PersistentVolume) -> Option<Quantity> {
    volume.spec.as_ref()?.capacity.as_ref()?.get("storage").cloned()
}

/// Whether a volume is reserved for a claim, by name or, once known, by UID.
pub(crate) fn is_reserved_for(reference: &ObjectReference, claim: &PersistentVolumeClaim) -> bool {
    let uid = reference.uid.as_deref().unwrap_or("");
    reference.name == claim.metadata.name
        && reference.namespace == claim.metadata.namespace
        && (uid.is_empty() || reference.uid == claim.metadata.uid)
}

/// Whether a volume has what a claim asks for, not regarding who has it.
fn suits(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let (Some(has), Some(wants)) = (&volume.spec, &claim.spec) else { return false };
    let mode = |mode: &Option<String>| mode.clone().unwrap_or_else(|| "Filesystem".to_owned());
    let modes = has.access_modes.as_deref().unwrap_or_default();
    let enough = match (capacity(volume), request(claim)) {
        (Some(has), Some(wants)) => {
            amounts::compare(&has, &wants).is_some_and(|order| order != Ordering::Less)
        }
        (_, None) => true,
        (None, Some(_)) => false,
    };
    let selected = wants.selector.is_none()
        || selector::convert(wants.selector.as_ref()).is_ok_and(|s| s.matches(&volume.metadata.labels));
    enough
        && selected
        && class_of_volume(volume) == class_of(claim).unwrap_or("")
        && mode(&has.volume_mode) == mode(&wants.volume_mode)
        && wants.access_modes.iter().flatten().all(|wanted| modes.contains(wanted))
}

/// The volume to bind: one that is reserved for the claim, else, unless `only_reserved`, the smallest free one that suits.
pub(super) fn find<'a>(
    claim: &PersistentVolumeClaim,
    volumes: &'a [Arc<PersistentVolume>],
    only_reserved: bool,
) -> Option<&'a Arc<PersistentVolume>> {
    let reference = |volume: &PersistentVolume| volume.spec.as_ref().and_then(|spec| spec.claim_ref.clone());
    let leaving = |volume: &PersistentVolume| volume.metadata.deletion_timestamp.is_some();
    let reserved = volumes.iter().find(|volume| {
        reference(volume).is_some_and(|reference| is_reserved_for(&reference, claim)) && !leaving(volume)
    });
    if reserved.is_some() || only_reserved {
        return reserved;
    }
    let free = |volume: &&Arc<PersistentVolume>| {
        let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
        reference(volume).is_none() && !leaving(volume) && phase == Some("Available") && suits(volume, claim)
    };
    volumes.iter().filter(free).min_by(|a, b| {
        let size = |volume: &PersistentVolume| capacity(volume);
        let order = size(a).zip(size(b)).and_then(|(a, b)| amounts::compare(&a, &b));
        order.unwrap_or(Ordering::Equal).then_with(|| a.metadata.name.cmp(&b.metadata.name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Kind;

    fn volume(name: &str, size: &str, more: &str) -> Arc<PersistentVolume> {
        let json = format!(
            r#"{{"apiVersion":"v1","kind":"PersistentVolume","metadata":{{"name":"{name}"}},"spec":{{"capacity":{{"storage":
            "{size}"}},"accessModes":["ReadWriteOnce"]{more}}},"status":{{"phase":"Available"}}}}"#
        );
        Arc::new(PersistentVolume::from_json(json.as_bytes()).unwrap())
    }

    fn claim(more: &str) -> PersistentVolumeClaim {
        let json = format!(
            r#"{{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{{"name":"c","namespace":"n","uid":"u"}},"spec":{{
            "accessModes":["ReadWriteOnce"],"resources":{{"requests":{{"storage":"2Gi"}}}}{more}}}}}"#
        );
        PersistentVolumeClaim::from_json(json.as_bytes()).unwrap()
    }

    #[test]
    fn the_smallest_that_suits_or_the_reserved_one() {
        let all = [
            volume("small", "1Gi", ""),
            volume("large", "10Gi", ""),
            volume("right", "3Gi", ""),
            volume("classy", "2Gi", r#","storageClassName":"fast""#),
            volume("taken", "2Gi", r#","claimRef":{"name":"other","namespace":"n"}"#),
            volume("block", "2Gi", r#","volumeMode":"Block""#),
        ];
        let name = |claim: &PersistentVolumeClaim, volumes: &[Arc<PersistentVolume>]| {
            find(claim, volumes, false).and_then(|volume| volume.metadata.name.clone())
        };
        assert_eq!(name(&claim(""), &all).as_deref(), Some("right"));
        assert_eq!(name(&claim(r#","storageClassName":"fast""#), &all).as_deref(), Some("classy"));
        assert_eq!(name(&claim(r#","volumeMode":"Block""#), &all).as_deref(), Some("block"));
        let reserved =
            [volume("mine", "1Gi", r#","claimRef":{"name":"c","namespace":"n"}"#), volume("free", "2Gi", "")];
        assert_eq!(name(&claim(""), &reserved).as_deref(), Some("mine"));
        let stale = [volume("gone", "2Gi", r#","claimRef":{"name":"c","namespace":"n","uid":"other"}"#)];
        assert_eq!(name(&claim(""), &stale), None);
    }
}
