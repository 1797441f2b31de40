//! ServiceAccount: every pod runs as a service account that exists, with its token, CA and namespace mounted.
//!
//! Source: "Configure Service Accounts for Pods". Deliberately absent: making the default account, which its
//! controller does.

use super::{forbidden, pod, pod_mut};
use crate::contract::{Admission, AdmissionRequest, Context, Operation};
use api::Kind;
use api::common::{items, text};
use api::k8s_openapi::api::core::v1::{
    ConfigMapProjection, Container, DownwardAPIProjection, DownwardAPIVolumeFile, KeyToPath,
    LocalObjectReference, ObjectFieldSelector, Pod, PodSpec, ProjectedVolumeSource, ServiceAccount,
    ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection,
};
use api::transport::{ListOptions, Target, WatchEvent};
use async_trait::async_trait;
use futures::StreamExt;
use machinery::{GroupResource, GroupVersionResource, Status};
use std::sync::Arc;
use std::time::Duration;

/// How long a pod's creation waits for an account that is about to be made: namespace and pod are often created
/// in one breath.
const PATIENCE: Duration = Duration::from_secs(1);
const DEFAULT: &str = "default";
const MIRROR: &str = "kubernetes.io/config.mirror";
const ENFORCE_SECRETS: &str = "kubernetes.io/enforce-mountable-secrets";
const TOKEN_VOLUME: &str = "kube-api-access-";
const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// One hour and a bit: by the odd seconds, tokens that asked for no particular life are known.
const TOKEN_SECONDS: i64 = 3607;

pub(super) struct ServiceAccounts(pub(super) Context);

impl ServiceAccounts {
    /// The account, from the cache or, when it is not there yet, after waiting for it a little.
    async fn account(&self, namespace: &str, name: &str) -> Result<Option<Arc<ServiceAccount>>, Status> {
        let storage = GroupResource::new("", ServiceAccount::PLURAL);
        if let Some(found) = self.0.lookup.get(&storage, namespace, name).await? {
            return found.get().map(Some).map_err(Status::internal);
        }
        let target =
            Target::all(GroupVersionResource::new("", "v1", ServiceAccount::PLURAL)).in_namespace(namespace);
        let mut options =
            ListOptions { field_selector: Some(format!("metadata.name={name}")), ..ListOptions::default() };
        let listed = self.0.loopback.list(&target, &options).await?;
        if let Some(found) = listed.items.first() {
            return found.get().map(Some).map_err(Status::internal);
        }
        options.resource_version = Some(listed.revision.to_string());
        let mut events = self.0.loopback.watch(&target, &options).await?;
        let appeared = async {
            while let Some(event) = events.next().await {
                if let WatchEvent::Added(object) = event? {
                    return object.get().map(Some).map_err(Status::internal);
                }
            }
            Ok(None)
        };
        tokio::select! {
            found = appeared => found,
            () = self.0.clock.sleep(PATIENCE) => Ok(None),
        }
    }
}

#[async_trait]
impl Admission for ServiceAccounts {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    async fn admit(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        let Some(spec) = pod(request).and_then(|pod| pod.spec.as_ref()) else { return Ok(()) };
        if is_mirror(request) {
            return self.validate(request).await;
        }
        let mut name = text(&spec.service_account_name).to_owned();
        if name.is_empty() {
            DEFAULT.clone_into(&mut name);
        }
        let namespace = request.namespace.clone();
        let Some(account) = self.account(&namespace, &name).await? else {
            let why = format!(
                "error looking up service account {namespace}/{name}: serviceaccount \"{name}\" not found"
            );
            return Err(forbidden(request, why));
        };
        let Some(spec) = pod_mut(request).and_then(|pod| pod.spec.as_mut()) else { return Ok(()) };
        spec.service_account_name = Some(name.clone());
        spec.service_account = Some(name);
        let automount = spec.automount_service_account_token.or(account.automount_service_account_token);
        if automount != Some(false) {
            mount_token(spec);
        }
        if items(&spec.image_pull_secrets).is_empty() {
            spec.image_pull_secrets.clone_from(&account.image_pull_secrets);
        }
        Ok(())
    }

    async fn validate(&self, request: &AdmissionRequest) -> Result<(), Status> {
        let Some(spec) = pod(request).and_then(|pod| pod.spec.as_ref()) else { return Ok(()) };
        if is_mirror(request) {
            return mirror(spec).map_err(|why| forbidden(request, why));
        }
        let name = text(&spec.service_account_name);
        let Some(account) = self.account(&request.namespace, name).await? else { return Ok(()) };
        let enforced = account.metadata.annotations.as_ref().and_then(|a| a.get(ENFORCE_SECRETS));
        if enforced.is_some_and(|value| matches!(value.as_str(), "true" | "1" | "t" | "T" | "TRUE" | "True"))
        {
            limit_secrets(&account, spec).map_err(|why| forbidden(request, why))?;
        }
        Ok(())
    }
}

fn is_mirror(request: &AdmissionRequest) -> bool {
    let annotations = pod(request).and_then(|pod: &Pod| pod.metadata.annotations.as_ref());
    annotations.is_some_and(|annotations| annotations.contains_key(MIRROR))
}

/// A mirror pod stands for one that the API server has no say over; it must not lend a node anything.
fn mirror(spec: &PodSpec) -> Result<(), String> {
    if !text(&spec.service_account_name).is_empty() {
        return Err("a mirror pod may not reference service accounts".to_owned());
    }
    for volume in items(&spec.volumes) {
        let projected = volume.projected.iter().flat_map(|p| items(&p.sources));
        let refused = [
            (volume.secret.is_some(), "secrets"),
            (volume.config_map.is_some(), "configmaps"),
            (volume.persistent_volume_claim.is_some(), "persistentvolumeclaims"),
            (projected.clone().any(|s| s.service_account_token.is_some()), "service account tokens"),
            (projected.clone().any(|s| s.secret.is_some()), "secrets"),
            (projected.clone().any(|s| s.config_map.is_some()), "configmaps"),
        ];
        if let Some((_, what)) = refused.iter().find(|(found, _)| *found) {
            return Err(format!("a mirror pod may not reference {what}"));
        }
    }
    let containers = spec.containers.iter().chain(items(&spec.init_containers));
    for env in containers.flat_map(|c| items(&c.env)).filter_map(|env| env.value_from.as_ref()) {
        if env.secret_key_ref.is_some() {
            return Err("a mirror pod may not reference secrets".to_owned());
        }
        if env.config_map_key_ref.is_some() {
            return Err("a mirror pod may not reference configmaps".to_owned());
        }
    }
    Ok(())
}

/// The account allows only the secrets that it lists.
fn limit_secrets(account: &ServiceAccount, spec: &PodSpec) -> Result<(), String> {
    let owner = text(&account.metadata.name);
    let listed = |name: &str| items(&account.secrets).iter().any(|secret| text(&secret.name) == name);
    for volume in items(&spec.volumes) {
        let direct = volume.secret.iter().map(|secret| text(&secret.secret_name));
        let projected = volume.projected.iter().flat_map(|p| items(&p.sources));
        for name in direct.chain(projected.filter_map(|s| s.secret.as_ref()).map(|s| s.name.as_str())) {
            if !listed(name) {
                return Err(format!(
                    "volume with secret.secretName=\"{name}\" is not allowed because service account {owner} does not \
                     reference that secret"
                ));
            }
        }
    }
    let containers = spec.containers.iter().chain(items(&spec.init_containers));
    for container in containers {
        let single = items(&container.env)
            .iter()
            .filter_map(|env| env.value_from.as_ref()?.secret_key_ref.as_ref())
            .map(|reference| reference.name.as_str());
        let whole = items(&container.env_from).iter().filter_map(|e| e.secret_ref.as_ref());
        for name in single.chain(whole.map(|reference| reference.name.as_str())) {
            if !listed(name) {
                return Err(format!(
                    "container {} with envVar or envFrom referencing secret.secretName=\"{name}\" is not allowed because \
                     service account {owner} does not reference that secret",
                    container.name
                ));
            }
        }
    }
    let pull = |secret: &LocalObjectReference| {
        items(&account.image_pull_secrets).iter().any(|known| known.name == secret.name)
    };
    match items(&spec.image_pull_secrets).iter().find(|secret| !pull(secret)) {
        Some(secret) => Err(format!(
            "imagePullSecrets contains \"{}\" but service account {owner} does not reference that imagePullSecret",
            secret.name
        )),
        None => Ok(()),
    }
}

/// Mounts a fresh token volume into every container that has nothing at that path.
fn mount_token(spec: &mut PodSpec) {
    let known = items(&spec.volumes).iter().find(|volume| volume.name.starts_with(TOKEN_VOLUME));
    let existing = known.map(|volume| volume.name.clone());
    let name = existing.clone().unwrap_or_else(|| {
        api::meta::generate_name(TOKEN_VOLUME, |below| rand::random_range(0..below.max(1)))
    });
    let mut mounted = false;
    let mut mount = |container: &mut Container| {
        let mounts = container.volume_mounts.get_or_insert_default();
        if mounts.iter().any(|mount| mount.mount_path == TOKEN_PATH) {
            return;
        }
        mounts.push(VolumeMount {
            name: name.clone(),
            read_only: Some(true),
            mount_path: TOKEN_PATH.to_owned(),
            ..VolumeMount::default()
        });
        mounted = true;
    };
    spec.init_containers.iter_mut().flatten().for_each(&mut mount);
    spec.containers.iter_mut().for_each(&mut mount);
    if mounted && existing.is_none() {
        spec.volumes.get_or_insert_default().push(token_volume(name));
    }
}

fn token_volume(name: String) -> Volume {
    let token = VolumeProjection {
        service_account_token: Some(ServiceAccountTokenProjection {
            expiration_seconds: Some(TOKEN_SECONDS),
            path: "token".to_owned(),
            ..ServiceAccountTokenProjection::default()
        }),
        ..VolumeProjection::default()
    };
    let authority = VolumeProjection {
        config_map: Some(ConfigMapProjection {
            name: "kube-root-ca.crt".to_owned(),
            items: Some(vec![KeyToPath {
                key: "ca.crt".to_owned(),
                path: "ca.crt".to_owned(),
                ..KeyToPath::default()
            }]),
            ..ConfigMapProjection::default()
        }),
        ..VolumeProjection::default()
    };
    let namespace = VolumeProjection {
        downward_api: Some(DownwardAPIProjection {
            items: Some(vec![DownwardAPIVolumeFile {
                path: "namespace".to_owned(),
                field_ref: Some(ObjectFieldSelector {
                    api_version: Some("v1".to_owned()),
                    field_path: "metadata.namespace".to_owned(),
                }),
                ..DownwardAPIVolumeFile::default()
            }]),
        }),
        ..VolumeProjection::default()
    };
    Volume {
        name,
        projected: Some(ProjectedVolumeSource {
            default_mode: Some(0o644),
            sources: Some(vec![token, authority, namespace]),
        }),
        ..Volume::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_volume_serves_all_containers_and_own_mounts_stay() {
        let container = |name: &str| Container { name: name.to_owned(), ..Container::default() };
        let mut own = container("own");
        own.volume_mounts =
            Some(vec![VolumeMount { mount_path: TOKEN_PATH.to_owned(), ..VolumeMount::default() }]);
        let mut spec = PodSpec {
            containers: vec![container("a"), own],
            init_containers: Some(vec![container("i")]),
            ..PodSpec::default()
        };
        mount_token(&mut spec);
        mount_token(&mut spec);
        let volumes = spec.volumes.unwrap();
        assert_eq!(volumes.len(), 1);
        let name = &volumes[0].name;
        assert!(name.starts_with(TOKEN_VOLUME) && name.len() == TOKEN_VOLUME.len() + 5, "{name}");
        for container in [&spec.containers[0], &spec.init_containers.unwrap()[0]] {
            assert_eq!(container.volume_mounts.as_ref().unwrap()[0].name, *name);
        }
        assert_eq!(spec.containers[1].volume_mounts.as_ref().unwrap().len(), 1);
    }

    #[test]
    fn mirror_pods_bring_nothing() {
        assert!(mirror(&PodSpec::default()).is_ok());
        let spec = PodSpec { service_account_name: Some("x".to_owned()), ..PodSpec::default() };
        assert_eq!(mirror(&spec).unwrap_err(), "a mirror pod may not reference service accounts");
    }
}
