//! Makes a container's image present: pull policy, back-off, credentials, events.
//!
//! Pulls of different pods run at once; the runtime shares what is the same. Deliberately absent: talking to
//! registries, which the runtime does.

pub(crate) mod gc;
mod keyring;
pub(crate) mod name;

use crate::container::security::ImageUser;
use crate::kubelet::Kubelet;
use crate::pod::backoff::{Backoff, go_duration};
use crate::pod::start::StartError;
use crate::spec;
use api::k8s_openapi::api::core::v1::{Container, Pod, Secret};
use client::EventType;
use cri::v1;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An image that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Present {
    /// What the runtime calls it.
    pub(crate) reference: String,
    /// Who it runs as.
    pub(crate) user: ImageUser,
}

/// Failures of pulls, for their back-off.
pub(crate) struct Images {
    backoff: Backoff,
    failures: Mutex<HashMap<String, (Instant, String)>>,
}

impl Images {
    /// Nothing has failed yet.
    pub(crate) fn new() -> Self {
        let backoff = Backoff::new(Duration::from_secs(10), Duration::from_secs(300));
        Self { backoff, failures: Mutex::default() }
    }

    /// Makes the image of `container` present by its pull policy.
    pub(crate) async fn ensure(
        &self,
        kubelet: &Kubelet,
        pod: &Arc<Pod>,
        container: &Container,
        sandbox: &v1::PodSandboxConfig,
    ) -> Result<Present, StartError> {
        let event = |kind, reason: &str, message: String| {
            kubelet.container_event(pod, &container.name, kind, reason, message);
        };
        let user_image = container.image.clone().unwrap_or_default();
        let image = name::with_default_tag(&user_image).map_err(|why| {
            let message = format!("Failed to apply default image tag {user_image:?}: {why}");
            event(EventType::Warning, "InspectFailed", message.clone());
            StartError::new("InvalidImageName", message)
        })?;
        let present = kubelet.runtime.image(&image).await.map_err(|error| {
            let message = format!("Failed to inspect image {image:?}: {error}");
            event(EventType::Warning, "InspectFailed", message.clone());
            StartError::new("ImageInspectError", message)
        })?;
        let policy = match container.image_pull_policy.as_deref() {
            Some(policy) if !policy.is_empty() => policy,
            _ if name::is_latest(&image) => "Always",
            _ => "IfNotPresent",
        };
        match (policy, present) {
            ("Never", None) => {
                let message =
                    format!("Container image {user_image:?} is not present with pull policy of Never");
                event(EventType::Warning, "ErrImageNeverPull", message.clone());
                return Err(StartError::new("ErrImageNeverPull", message));
            }
            ("Always", _) | (_, None) => {}
            (_, Some(image)) => {
                let text = "already present on machine and can be accessed by the pod";
                event(EventType::Normal, "Pulled", format!("Container image {user_image:?} {text}"));
                return Ok(describe(image));
            }
        }
        self.pull(kubelet, pod, container, &image, sandbox).await
    }

    fn check_backoff(&self, key: &str, image: &str, now: Instant) -> Result<(), StartError> {
        let Some((at, why)) = self.failures.lock().get(key).cloned() else { return Ok(()) };
        let since = now.saturating_duration_since(at);
        match self.backoff.remaining(key, since) {
            None => Ok(()),
            Some((_, left)) => Err(StartError {
                reason: "ImagePullBackOff".to_owned(),
                message: format!("Back-off pulling image {image:?}: ErrImagePull: {why}"),
                retry: Some(left),
            }),
        }
    }

    async fn pull(
        &self,
        kubelet: &Kubelet,
        pod: &Arc<Pod>,
        container: &Container,
        image: &str,
        sandbox: &v1::PodSandboxConfig,
    ) -> Result<Present, StartError> {
        let user_image = container.image.clone().unwrap_or_default();
        let event = |kind, reason: &str, message: String| {
            kubelet.container_event(pod, &container.name, kind, reason, message);
        };
        let key = format!("{}_{image}", spec::uid(pod));
        let begun = kubelet.clock.instant();
        if let Err(error) = self.check_backoff(&key, &user_image, begun) {
            event(EventType::Normal, "BackOff", format!("Back-off pulling image {user_image:?}"));
            return Err(error);
        }
        event(EventType::Normal, "Pulling", format!("Pulling image {user_image:?}"));
        let credentials = credentials(kubelet, pod, image).await;
        match attempt(kubelet, image, &user_image, credentials, sandbox).await {
            Ok(()) => {}
            Err(error) => {
                let why = error.to_string();
                event(EventType::Warning, "Failed", format!("Failed to pull image {user_image:?}: {why}"));
                let now = kubelet.clock.instant();
                let before = self.failures.lock().insert(key.clone(), (now, why.clone()));
                let since = before.map_or(Duration::ZERO, |(at, _)| now.saturating_duration_since(at));
                self.backoff.next(&key, since, now);
                let retry = self
                    .backoff
                    .remaining(&key, Duration::ZERO)
                    .map(|(_, left)| left.min(Duration::from_secs(2)));
                // Soon, so that the back-off shows; the next attempt waits for its end.
                return Err(StartError { reason: "ErrImagePull".to_owned(), message: why, retry });
            }
        }
        self.failures.lock().remove(&key);
        self.backoff.reset(&key);
        let found = kubelet.runtime.image(image).await.ok().flatten().ok_or_else(|| {
            StartError::new("ErrImagePull", format!("image {image:?} is not there after it was pulled"))
        })?;
        let took = kubelet.clock.instant().saturating_duration_since(begun);
        let took = go_duration(Duration::from_millis(u64::try_from(took.as_millis()).unwrap_or(u64::MAX)));
        event(
            EventType::Normal,
            "Pulled",
            format!(
                "Successfully pulled image {user_image:?} in {took} ({took} including waiting). Image size: {} bytes.",
                found.size
            ),
        );
        self.backoff.sweep(kubelet.clock.instant());
        Ok(describe(found))
    }
}

/// Tries each of the credentials, or none; the last error counts.
async fn attempt(
    kubelet: &Kubelet,
    image: &str,
    user_image: &str,
    credentials: Vec<v1::AuthConfig>,
    sandbox: &v1::PodSandboxConfig,
) -> Result<(), crate::runtime::RuntimeError> {
    let mut tries: Vec<Option<v1::AuthConfig>> = credentials.into_iter().map(Some).collect();
    if tries.is_empty() {
        tries.push(None);
    }
    let last = tries.len() - 1;
    for (index, auth) in tries.into_iter().enumerate() {
        match kubelet.runtime.pull(image, user_image, auth, sandbox.clone()).await {
            Ok(_) => return Ok(()),
            Err(error) if index == last => return Err(error),
            Err(error) => tracing::debug!(image, "a credential did not do: {error}; trying the next"),
        }
    }
    Ok(())
}

fn describe(image: v1::Image) -> Present {
    let user = ImageUser { uid: image.uid.map(|u| u.value), name: image.username };
    Present { reference: image.id, user }
}

/// Credentials of the pod's pull secrets that fit the image. Secrets that can not be read are told and left out.
async fn credentials(kubelet: &Kubelet, pod: &Arc<Pod>, image: &str) -> Vec<v1::AuthConfig> {
    let mut all = Vec::new();
    let s = spec::spec(pod);
    for reference in s.image_pull_secrets.iter().flatten() {
        let (uid, namespace) = (spec::uid(pod), spec::namespace(pod));
        match kubelet.references.secrets.get(uid, namespace, &reference.name).await {
            Ok(secret) => all.extend(from_secret(&secret, image)),
            Err(status) => {
                let message = format!(
                    "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                    reference.name
                );
                kubelet.pod_event(pod, EventType::Warning, "FailedToRetrieveImagePullSecret", message);
                tracing::debug!(
                    secret = reference.name,
                    "failed to read a pull secret: {status}; it is left out"
                );
            }
        }
    }
    all
}

fn from_secret(secret: &Secret, image: &str) -> Vec<v1::AuthConfig> {
    let data = secret.data.as_ref();
    let (key, nested) = match secret.type_.as_deref() {
        Some("kubernetes.io/dockerconfigjson") => (".dockerconfigjson", true),
        Some("kubernetes.io/dockercfg") => (".dockercfg", false),
        _ => return Vec::new(),
    };
    let Some(bytes) = data.and_then(|d| d.get(key)) else { return Vec::new() };
    keyring::find(&bytes.0, nested, image)
}
