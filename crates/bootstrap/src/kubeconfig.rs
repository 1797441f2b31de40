//! Kubeconfig files with embedded credentials (`v1 Config`).

use crate::files;
use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use component::tls::KeyPair;
use serde_json::{Value, json};
use std::path::Path;

/// A kubeconfig for `user` at `server`, with certificates embedded.
pub fn build(server: &str, ca: &[u8], user: &str, pair: &KeyPair) -> Value {
    let context = format!("{user}@windlass");
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "windlass", "cluster": {
            "server": server,
            "certificate-authority-data": STANDARD.encode(ca),
        }}],
        "users": [{"name": user, "user": {
            "client-certificate-data": STANDARD.encode(&pair.certificate),
            "client-key-data": STANDARD.encode(&pair.key),
        }}],
        "contexts": [{"name": context, "context": {"cluster": "windlass", "user": user}}],
        "current-context": context,
    })
}

/// Writes a kubeconfig as YAML, mode 0600.
pub fn write(path: &Path, config: &Value) -> Result<()> {
    files::write_private(path, serde_saphyr::to_string(config)?.as_bytes())
}
