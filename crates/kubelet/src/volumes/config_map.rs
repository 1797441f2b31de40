//! `configMap`: the keys of a ConfigMap as files that follow it.

use super::atomic::Payload;
use super::content::{Medium, choose, config_map_data, publish};
use super::{Mounted, Request, VolumeError, VolumePlugin};
use crate::spec;
use api::k8s_openapi::api::core::v1::Volume;
use async_trait::async_trait;

pub(super) struct ConfigMapVolume;

#[async_trait]
impl VolumePlugin for ConfigMapVolume {
    fn name(&self) -> &'static str {
        "kubernetes.io/configmap"
    }

    fn takes(&self, volume: &Volume) -> bool {
        volume.config_map.is_some()
    }

    fn is_live(&self) -> bool {
        true
    }

    async fn set_up(&self, request: &Request<'_>) -> Result<Mounted, VolumeError> {
        let source = request.volume.config_map.clone().unwrap_or_default();
        let optional = source.optional == Some(true);
        let (uid, namespace) = (spec::uid(request.pod), spec::namespace(request.pod));
        let mut payload = Payload::new();
        match request.kubelet.references.config_maps.get(uid, namespace, &source.name).await {
            Ok(map) => {
                let data = config_map_data(&map);
                choose(
                    &mut payload,
                    &data,
                    source.items.as_ref(),
                    source.default_mode,
                    optional,
                    "configmap",
                )?;
            }
            Err(status) if status.is_not_found() && optional => {}
            Err(status) => return Err(status.into()),
        }
        publish(request, payload, Medium::Disk, None).await
    }
}
