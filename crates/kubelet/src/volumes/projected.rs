//! `projected`: several sources in one directory, service account tokens among them.

use super::atomic::{FileContent, Payload};
use super::content::{Medium, choose, config_map_data, mode, publish, secret_data};
use super::{Mounted, Request, VolumeError, VolumePlugin, downward, ownership};
use crate::spec;
use api::k8s_openapi::api::core::v1::{ServiceAccountTokenProjection, Volume, VolumeProjection};
use async_trait::async_trait;
use std::time::Duration;

pub(super) struct Projected;

/// The one user that every container runs as, who then owns the token.
fn common_user(request: &Request<'_>) -> Option<u32> {
    let s = spec::spec(request.pod);
    let default = s.security_context.as_ref().and_then(|c| c.run_as_user);
    let mut users = spec::all(request.pod)
        .into_iter()
        .map(|(_, c)| c.security_context.as_ref().and_then(|s| s.run_as_user).or(default));
    let first = users.next()??;
    users.all(|user| user == Some(first)).then(|| u32::try_from(first).ok())?
}

async fn add_token(
    payload: &mut Payload,
    request: &Request<'_>,
    source: &ServiceAccountTokenProjection,
    default_mode: Option<i32>,
) -> Result<Duration, VolumeError> {
    let (token, refresh) = request.kubelet.tokens.get(request.kubelet, request.pod, source).await?;
    let uid = common_user(request);
    let private = uid.is_some() || ownership::fs_group(request.pod).is_some();
    let mode = if private { 0o600 } else { mode(None, default_mode) };
    payload.insert(source.path.clone(), FileContent { data: token.into_bytes(), mode, uid });
    Ok(refresh)
}

async fn add(
    payload: &mut Payload,
    request: &Request<'_>,
    source: &VolumeProjection,
    default_mode: Option<i32>,
) -> Result<Option<Duration>, VolumeError> {
    let (uid, namespace) = (spec::uid(request.pod), spec::namespace(request.pod));
    let references = &request.kubelet.references;
    if let Some(s) = &source.config_map {
        let optional = s.optional == Some(true);
        match references.config_maps.get(uid, namespace, &s.name).await {
            Ok(map) => {
                choose(
                    payload,
                    &config_map_data(&map),
                    s.items.as_ref(),
                    default_mode,
                    optional,
                    "configmap",
                )?;
            }
            Err(status) if status.is_not_found() && optional => {}
            Err(status) => return Err(status.into()),
        }
    } else if let Some(s) = &source.secret {
        let optional = s.optional == Some(true);
        match references.secrets.get(uid, namespace, &s.name).await {
            Ok(secret) => {
                choose(payload, &secret_data(&secret), s.items.as_ref(), default_mode, optional, "secret")?;
            }
            Err(status) if status.is_not_found() && optional => {}
            Err(status) => return Err(status.into()),
        }
    } else if let Some(s) = &source.downward_api {
        downward::fill(payload, request, s.items.as_deref().unwrap_or_default(), default_mode)?;
    } else if let Some(s) = &source.service_account_token {
        return add_token(payload, request, s, default_mode).await.map(Some);
    } else {
        return Err(VolumeError(
            "this projected source is not supported by this version of Windlass".to_owned(),
        ));
    }
    Ok(None)
}

#[async_trait]
impl VolumePlugin for Projected {
    fn name(&self) -> &'static str {
        "kubernetes.io/projected"
    }

    fn takes(&self, volume: &Volume) -> bool {
        volume.projected.is_some()
    }

    fn is_live(&self) -> bool {
        true
    }

    async fn set_up(&self, request: &Request<'_>) -> Result<Mounted, VolumeError> {
        let projected = request.volume.projected.clone().unwrap_or_default();
        let mut payload = Payload::new();
        let mut refresh: Option<Duration> = None;
        for source in projected.sources.iter().flatten() {
            if let Some(due) = add(&mut payload, request, source, projected.default_mode).await? {
                refresh = Some(refresh.map_or(due, |r| r.min(due)));
            }
        }
        publish(request, payload, Medium::Memory, refresh).await
    }
}
