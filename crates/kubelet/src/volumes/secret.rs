//! `secret`: the keys of a Secret as files that follow it.

use super::atomic::Payload;
use super::content::{Medium, choose, publish, secret_data};
use super::{Mounted, Request, VolumeError, VolumePlugin};
use crate::spec;
use api::k8s_openapi::api::core::v1::Volume;
use async_trait::async_trait;

pub(super) struct SecretVolume;

#[async_trait]
impl VolumePlugin for SecretVolume {
    fn name(&self) -> &'static str {
        "kubernetes.io/secret"
    }

    fn takes(&self, volume: &Volume) -> bool {
        volume.secret.is_some()
    }

    fn is_live(&self) -> bool {
        true
    }

    async fn set_up(&self, request: &Request<'_>) -> Result<Mounted, VolumeError> {
        let source = request.volume.secret.clone().unwrap_or_default();
        let optional = source.optional == Some(true);
        let name = source.secret_name.clone().unwrap_or_default();
        let (uid, namespace) = (spec::uid(request.pod), spec::namespace(request.pod));
        let mut payload = Payload::new();
        match request.kubelet.references.secrets.get(uid, namespace, &name).await {
            Ok(secret) => {
                let data = secret_data(&secret);
                choose(&mut payload, &data, source.items.as_ref(), source.default_mode, optional, "secret")?;
            }
            Err(status) if status.is_not_found() && optional => {}
            Err(status) => return Err(status.into()),
        }
        publish(request, payload, Medium::Memory, None).await
    }
}
