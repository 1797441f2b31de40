//! Shared by volumes whose files come from API objects: choosing keys, modes, writing.

use super::atomic::{self, FileContent, Payload};
use super::{Mounted, Request, VolumeError, blocking, memory, ownership};
use api::k8s_openapi::api::core::v1::{ConfigMap, KeyToPath, Secret};
use std::collections::BTreeMap;
use std::time::Duration;

/// Mode of files when neither the item nor the volume names one.
pub(crate) const DEFAULT_MODE: i32 = 0o644;

/// A mode as permission bits.
pub(crate) fn mode(item: Option<i32>, volume: Option<i32>) -> u32 {
    u32::try_from(item.or(volume).unwrap_or(DEFAULT_MODE)).unwrap_or(0o644) & 0o777
}

/// The data of a ConfigMap.
pub(crate) fn config_map_data(map: &ConfigMap) -> BTreeMap<String, Vec<u8>> {
    let text = map.data.iter().flatten().map(|(key, value)| (key.clone(), value.clone().into_bytes()));
    let binary = map.binary_data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone()));
    text.chain(binary).collect()
}

/// The data of a Secret.
pub(crate) fn secret_data(secret: &Secret) -> BTreeMap<String, Vec<u8>> {
    secret.data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone())).collect()
}

/// Puts the chosen keys of `data` into `payload`: all of them without `items`.
pub(crate) fn choose(
    payload: &mut Payload,
    data: &BTreeMap<String, Vec<u8>>,
    items: Option<&Vec<KeyToPath>>,
    volume_mode: Option<i32>,
    optional: bool,
    what: &str,
) -> Result<(), VolumeError> {
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        for (key, value) in data {
            let file = FileContent { data: value.clone(), mode: mode(None, volume_mode), uid: None };
            payload.insert(key.clone(), file);
        }
        return Ok(());
    };
    for item in items {
        match data.get(&item.key) {
            Some(value) => {
                let mode = mode(item.mode, volume_mode);
                let path = item.path.trim_end_matches('/').to_owned();
                payload.insert(path, FileContent { data: value.clone(), mode, uid: None });
            }
            None if optional => {}
            None => {
                return Err(VolumeError(format!("{what} references non-existent {what} key: {}", item.key)));
            }
        }
    }
    Ok(())
}

/// Where the files of a volume are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Medium {
    /// On the node's disk.
    Disk,
    /// In memory only.
    Memory,
}

/// Writes the payload into the volume's directory.
pub(crate) async fn publish(
    request: &Request<'_>,
    payload: Payload,
    medium: Medium,
    refresh: Option<Duration>,
) -> Result<Mounted, VolumeError> {
    let dir = request.dir.clone();
    let group = ownership::fs_group(request.pod);
    let stamp = client::time::now(&*request.kubelet.clock).strftime("%Y_%m_%d_%H_%M_%S").to_string();
    let path = dir.clone();
    blocking(move || {
        std::fs::create_dir_all(&dir).map_err(VolumeError::io("make", &dir))?;
        // A volume that an earlier version put on the disk is mounted in running containers: it stays there.
        if medium == Medium::Memory && dir.join("..data").symlink_metadata().is_err() {
            memory::mount(&dir, "")?;
        }
        atomic::write(&dir, &payload, &stamp, |fresh| match group {
            Some(group) => ownership::give(fresh, group, true, false),
            None => Ok(()),
        })
    })
    .await?;
    Ok(Mounted { path, read_only: true, refresh })
}
