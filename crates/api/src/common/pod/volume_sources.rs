//! What each volume source must say.

use super::{env, legacy_volumes};
use crate::common::{amounts, items, names, text};
use k8s_openapi::api::core::v1::*;
use machinery::{FieldErrors, FieldPath};
use std::collections::BTreeSet;

const MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";

/// Reports what is wrong with the one source of `volume`.
pub(super) fn validate(volume: &Volume, path: &FieldPath, errors: &mut FieldErrors) {
    if let Some(source) = &volume.host_path {
        host_path(source, &path.child("hostPath"), errors);
    }
    if let Some(limit) = volume.empty_dir.as_ref().and_then(|source| source.size_limit.as_ref())
        && amounts::parse(limit).is_none_or(|limit| amounts::is_negative(&limit))
    {
        errors.forbidden(
            path.child("emptyDir").child("sizeLimit"),
            "SizeLimit field must be a valid resource quantity",
        );
    }
    if let Some(source) = &volume.secret {
        let at = path.child("secret");
        required(text(&source.secret_name), at.child("secretName"), errors);
        mode(source.default_mode, at.child("defaultMode"), errors);
        key_to_paths(&source.items, &at.child("items"), errors);
    }
    if let Some(source) = &volume.config_map {
        let at = path.child("configMap");
        required(&source.name, at.child("name"), errors);
        mode(source.default_mode, at.child("defaultMode"), errors);
        key_to_paths(&source.items, &at.child("items"), errors);
    }
    if let Some(source) = &volume.downward_api {
        let at = path.child("downwardAPI");
        mode(source.default_mode, at.child("defaultMode"), errors);
        downward_items(&source.items, &at.child("items"), errors);
    }
    if let Some(source) = &volume.projected {
        projected(source, &path.child("projected"), errors);
    }
    if let Some(source) = &volume.persistent_volume_claim {
        required(&source.claim_name, path.child("persistentVolumeClaim").child("claimName"), errors);
    }
    if let Some(source) = &volume.ephemeral {
        let at = path.child("ephemeral").child("volumeClaimTemplate");
        match &source.volume_claim_template {
            None => errors.required(at, ""),
            Some(template) => {
                crate::common::volume_claim::validate(&template.spec, &at.child("spec"), errors);
            }
        }
    }
    network(volume, path, errors);
    for name in super::volumes::sources(volume).into_iter().filter(|name| legacy_volumes::knows(name)) {
        // Read as JSON, for one table holds the rules of all of them; hardly any pod has such a volume.
        let json = serde_json::to_vec(volume).unwrap_or_default();
        let whole: serde_json::Value = serde_json::from_slice(&json).unwrap_or_default();
        legacy_volumes::validate(name, &whole[name], &path.child(name), errors);
    }
}

fn network(volume: &Volume, path: &FieldPath, errors: &mut FieldErrors) {
    if let Some(source) = &volume.nfs {
        nfs(source, &path.child("nfs"), errors);
    }
    if let Some(source) = &volume.csi {
        csi_driver(&source.driver, path.child("csi").child("driver"), errors);
    }
    if let Some(source) = &volume.image {
        let at = path.child("image").child("pullPolicy");
        super::containers::pull_policy(&source.pull_policy, at, errors);
    }
    if let Some(source) = &volume.git_repo {
        let at = path.child("gitRepo");
        required(&source.repository, at.child("repository"), errors);
        no_backsteps(text(&source.directory), at.child("directory"), errors);
    }
}

fn required(value: &str, path: FieldPath, errors: &mut FieldErrors) {
    if value.is_empty() {
        errors.required(path, "");
    }
}

/// Reports a path of a host that is missing, climbs, or is of an unknown type.
pub fn host_path(source: &HostPathVolumeSource, path: &FieldPath, errors: &mut FieldErrors) {
    const TYPES: &[&str] = &[
        "",
        "BlockDevice",
        "CharDevice",
        "Directory",
        "DirectoryOrCreate",
        "File",
        "FileOrCreate",
        "Socket",
    ];
    if source.path.is_empty() {
        errors.required(path.child("path"), "");
        return;
    }
    no_backsteps(&source.path, path.child("path"), errors);
    let kind = text(&source.type_);
    if !TYPES.contains(&kind) {
        errors.not_supported(path.child("type"), kind, TYPES);
    }
}

/// Reports an NFS export without server or absolute path.
pub fn nfs(source: &NFSVolumeSource, path: &FieldPath, errors: &mut FieldErrors) {
    required(&source.server, path.child("server"), errors);
    required(&source.path, path.child("path"), errors);
    if !source.path.starts_with('/') {
        errors.invalid(path.child("path"), &source.path, "must be an absolute path");
    }
}

/// Reports a CSI driver's name that is missing, too long or not a DNS subdomain.
pub fn csi_driver(driver: &str, path: FieldPath, errors: &mut FieldErrors) {
    if driver.is_empty() {
        errors.required(path.clone(), "");
    }
    if driver.len() > 63 {
        errors.too_long(path.clone(), 63);
    }
    if !driver.is_empty() {
        names::report(path, driver, names::dns1123_subdomain(&driver.to_lowercase()), errors);
    }
}

fn mode(mode: Option<i32>, path: FieldPath, errors: &mut FieldErrors) {
    if let Some(mode) = mode
        && !(0..=0o777).contains(&mode)
    {
        errors.invalid(path, mode, MODE);
    }
}

fn no_backsteps(value: &str, path: FieldPath, errors: &mut FieldErrors) {
    if value.split('/').any(|part| part == "..") {
        errors.invalid(path, value, "must not contain '..'");
    }
}

/// Reports a path that is absolute or climbs out of its volume.
pub fn descending(value: &str, path: FieldPath, errors: &mut FieldErrors) {
    if value.starts_with('/') {
        errors.invalid(path.clone(), value, "must be a relative path");
    }
    no_backsteps(value, path, errors);
}

/// Like [`descending`], and keeps names that begin with two dots for the node's own use.
fn not_reserved(value: &str, path: FieldPath, errors: &mut FieldErrors) {
    descending(value, path.clone(), errors);
    if value.starts_with("..") && !value.starts_with("../") {
        errors.invalid(path, value, "must not start with '..'");
    }
}

fn key_to_paths(list: &Option<Vec<KeyToPath>>, path: &FieldPath, errors: &mut FieldErrors) {
    for (at, item) in items(list).iter().enumerate() {
        let at = path.index(at);
        required(&item.key, at.child("key"), errors);
        required(&item.path, at.child("path"), errors);
        not_reserved(&item.path, at.child("path"), errors);
        mode(item.mode, at.child("mode"), errors);
    }
}

fn downward_items(list: &Option<Vec<DownwardAPIVolumeFile>>, path: &FieldPath, errors: &mut FieldErrors) {
    for (at, item) in items(list).iter().enumerate() {
        let at = path.index(at);
        required(&item.path, at.child("path"), errors);
        not_reserved(&item.path, at.child("path"), errors);
        match (&item.field_ref, &item.resource_field_ref) {
            (Some(field), resource) => {
                env::object_field(field, env::VOLUME_FIELDS, &at.child("fieldRef"), errors);
                if resource.is_some() {
                    errors.invalid(
                        at.clone(),
                        "resource",
                        "fieldRef and resourceFieldRef can not be specified simultaneously",
                    );
                }
            }
            (None, Some(resource)) => {
                env::resource_field(resource, true, &at.child("resourceFieldRef"), errors);
            }
            (None, None) => {
                errors.required(at.clone(), "one of fieldRef and resourceFieldRef is required");
            }
        }
        mode(item.mode, at.child("mode"), errors);
    }
}

fn projected(source: &ProjectedVolumeSource, path: &FieldPath, errors: &mut FieldErrors) {
    mode(source.default_mode, path.child("defaultMode"), errors);
    let mut paths = BTreeSet::new();
    for (at, source) in items(&source.sources).iter().enumerate() {
        let at = path.child("sources").index(at);
        let mut used: Vec<&str> = Vec::new();
        let mut kinds = 0;
        if let Some(secret) = &source.secret {
            kinds += 1;
            required(&secret.name, at.child("secret").child("name"), errors);
            key_to_paths(&secret.items, &at.child("secret").child("items"), errors);
            used.extend(items(&secret.items).iter().map(|item| item.path.as_str()));
        }
        if let Some(map) = &source.config_map {
            kinds += 1;
            required(&map.name, at.child("configMap").child("name"), errors);
            key_to_paths(&map.items, &at.child("configMap").child("items"), errors);
            used.extend(items(&map.items).iter().map(|item| item.path.as_str()));
        }
        if let Some(downward) = &source.downward_api {
            kinds += 1;
            downward_items(&downward.items, &at.child("downwardAPI").child("items"), errors);
            used.extend(items(&downward.items).iter().map(|item| item.path.as_str()));
        }
        if let Some(token) = &source.service_account_token {
            kinds += 1;
            service_account_token(token, &at.child("serviceAccountToken"), errors);
            used.push(&token.path);
        }
        if let Some(bundle) = &source.cluster_trust_bundle {
            kinds += 1;
            required(&bundle.path, at.child("clusterTrustBundle").child("path"), errors);
            used.push(&bundle.path);
        }
        kinds += usize::from(source.pod_certificate.is_some());
        if kinds > 1 {
            errors.forbidden(at.clone(), "may not specify more than 1 volume type per source");
        }
        for used in used.into_iter().filter(|used| !used.is_empty()) {
            if !paths.insert(used) {
                errors.invalid(path.clone(), used, "conflicting duplicate paths");
            }
        }
    }
}

fn service_account_token(token: &ServiceAccountTokenProjection, path: &FieldPath, errors: &mut FieldErrors) {
    let seconds = token.expiration_seconds.unwrap_or_default();
    let at = path.child("expirationSeconds");
    if seconds < 600 {
        errors.invalid(at, seconds, "may not specify a duration less than 10 minutes");
    } else if seconds > 1 << 32 {
        errors.invalid(at, seconds, "may not specify a duration larger than 2^32 seconds");
    }
    if token.path.is_empty() {
        errors.required(path.child("path"), "");
    } else {
        not_reserved(&token.path, path.child("path"), errors);
    }
}
