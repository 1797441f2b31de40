//! `downwardAPI`: fields of the pod as files that follow it.

use super::atomic::{FileContent, Payload};
use super::content::{Medium, mode, publish};
use super::{Mounted, Request, VolumeError, VolumePlugin};
use crate::container::fields;
use crate::spec;
use api::k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, Volume};
use async_trait::async_trait;

pub(super) struct Downward;

/// Puts the files that `items` describe into `payload`.
pub(super) fn fill(
    payload: &mut Payload,
    request: &Request<'_>,
    items: &[DownwardAPIVolumeFile],
    default_mode: Option<i32>,
) -> Result<(), VolumeError> {
    let runtime = request.kubelet.field_values(request.pod);
    for item in items {
        let text = if let Some(field) = &item.field_ref {
            fields::field(request.pod, &runtime, &field.field_path)
        } else if let Some(selector) = &item.resource_field_ref {
            let name = selector.container_name.as_deref().unwrap_or_default();
            match spec::find(request.pod, name) {
                Some((_, container)) => fields::resource(&container, &runtime, selector),
                None => Err(format!("container {name} not found")),
            }
        } else {
            Ok(String::new())
        };
        let data = text.map_err(VolumeError)?.into_bytes();
        let path = item.path.trim_end_matches('/').to_owned();
        payload.insert(path, FileContent { data, mode: mode(item.mode, default_mode), uid: None });
    }
    Ok(())
}

#[async_trait]
impl VolumePlugin for Downward {
    fn name(&self) -> &'static str {
        "kubernetes.io/downward-api"
    }

    fn takes(&self, volume: &Volume) -> bool {
        volume.downward_api.is_some()
    }

    fn is_live(&self) -> bool {
        true
    }

    async fn set_up(&self, request: &Request<'_>) -> Result<Mounted, VolumeError> {
        let source = request.volume.downward_api.clone().unwrap_or_default();
        let mut payload = Payload::new();
        fill(&mut payload, request, source.items.as_deref().unwrap_or_default(), source.default_mode)?;
        publish(request, payload, Medium::Memory, None).await
    }
}
