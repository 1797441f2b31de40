//! The configuration list that makes a runtime attach pods to a node's part of the pod network.

use ipnet::Ipv4Net;
use serde_json::json;
use std::io;
use std::path::Path;

/// Name of the bridge that a node's pods hang on.
pub const BRIDGE: &str = "cni0";

/// Name of the configuration file.
pub const FILE: &str = "10-windlass.conflist";

/// The pod network of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodNetwork {
    /// Addresses of this node's pods.
    pub pod_cidr: Ipv4Net,
    /// Largest packet between pods in bytes.
    pub mtu: u32,
}

impl PodNetwork {
    /// Writes the configuration list into `conf_dir`, with the state of address management under `data_dir`.
    /// Returns whether the file changed. Replaces the file whole, so a runtime never reads half of one.
    pub fn write(&self, conf_dir: &Path, data_dir: &Path) -> io::Result<bool> {
        let list = json!({
            "cniVersion": "1.0.0",
            "name": "windlass",
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": BRIDGE,
                    "isGateway": true,
                    "isDefaultGateway": true,
                    "hairpinMode": true,
                    "mtu": self.mtu,
                    "ipam": {
                        "type": "host-local",
                        "ranges": [[{"subnet": self.pod_cidr}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                        "dataDir": data_dir,
                    },
                },
                {"type": "portmap", "capabilities": {"portMappings": true}},
            ],
        });
        let text = format!("{list:#}\n");
        let file = conf_dir.join(FILE);
        if std::fs::read_to_string(&file).is_ok_and(|old| old == text) {
            return Ok(false);
        }
        std::fs::create_dir_all(conf_dir)?;
        let beside = conf_dir.join(format!(".{FILE}.new"));
        std::fs::write(&beside, text)?;
        std::fs::rename(&beside, &file)?;
        Ok(true)
    }
}
