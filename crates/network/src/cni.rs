//! The CNI protocol (spec 1.1.0): parameters from the environment, configuration on standard input, a result
//! or an error on standard output.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::net::IpAddr;
use std::path::PathBuf;

/// Versions of the spec that our plugins speak, oldest first.
pub const VERSIONS: &[&str] = &["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// Error codes of the spec, section 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Code {
    /// The `cniVersion` is not supported.
    IncompatibleVersion = 1,
    /// An environment variable is missing or wrong.
    InvalidEnvironment = 4,
    /// A file or the kernel refused.
    Io = 5,
    /// The configuration is not JSON or has the wrong shape.
    Decode = 6,
    /// The configuration asks for something impossible.
    InvalidConfig = 7,
    /// Something is temporarily unavailable; try again later.
    TryAgain = 11,
    /// The plugin cannot serve ADD now.
    NotAvailable = 50,
}

/// A failure as the runtime reads it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{msg}")]
pub struct CniError {
    /// What kind.
    pub code: Code,
    /// In words.
    pub msg: String,
}

impl CniError {
    /// A failure with a code and words.
    pub fn new(code: Code, msg: impl Into<String>) -> Self {
        Self { code, msg: msg.into() }
    }

    /// The JSON that goes to standard output.
    pub fn to_json(&self, version: &str) -> Value {
        serde_json::json!({"cniVersion": version, "code": self.code as u32, "msg": self.msg})
    }
}

impl From<linux::link::LinkError> for CniError {
    fn from(error: linux::link::LinkError) -> Self {
        Self::new(Code::Io, error.to_string())
    }
}

impl From<std::io::Error> for CniError {
    fn from(error: std::io::Error) -> Self {
        Self::new(Code::Io, error.to_string())
    }
}

/// What a runtime asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Attach a container.
    Add,
    /// Detach a container.
    Del,
    /// Is the container still attached as it was?
    Check,
    /// Can ADD be served?
    Status,
    /// Which versions are spoken?
    Version,
    /// Remove what belongs to no container of the list.
    Gc,
}

/// The parameters of one call.
#[derive(Clone, Debug)]
pub struct Args {
    /// The command.
    pub command: Command,
    /// Id of the container (the pod sandbox).
    pub container_id: String,
    /// Path of its network namespace; may be empty for DEL.
    pub netns: PathBuf,
    /// Name of the interface inside.
    pub ifname: String,
    /// Directories with plugins.
    pub path: Vec<PathBuf>,
}

impl Args {
    /// Reads `CNI_*` through `get`; checks what the command needs.
    pub fn from_env(get: impl Fn(&str) -> Option<String>) -> Result<Self, CniError> {
        let bad = |msg: String| CniError::new(Code::InvalidEnvironment, msg);
        let command = match get("CNI_COMMAND").as_deref() {
            Some("ADD") => Command::Add,
            Some("DEL") => Command::Del,
            Some("CHECK") => Command::Check,
            Some("STATUS") => Command::Status,
            Some("VERSION") => Command::Version,
            Some("GC") => Command::Gc,
            Some(other) => return Err(bad(format!("CNI_COMMAND {other:?} is unknown"))),
            None => {
                return Err(bad(
                    "CNI_COMMAND is not set; this program is run by a container runtime".to_owned()
                ));
            }
        };
        let args = Self {
            command,
            container_id: get("CNI_CONTAINERID").unwrap_or_default(),
            netns: get("CNI_NETNS").unwrap_or_default().into(),
            ifname: get("CNI_IFNAME").unwrap_or_default(),
            path: get("CNI_PATH")
                .unwrap_or_default()
                .split(':')
                .filter(|p| !p.is_empty())
                .map(Into::into)
                .collect(),
        };
        let attaches = matches!(command, Command::Add | Command::Check);
        if attaches || command == Command::Del {
            let valid = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
            if args.container_id.is_empty() || !args.container_id.chars().all(valid) {
                return Err(bad(format!("CNI_CONTAINERID {:?} is not a valid id", args.container_id)));
            }
            let name = &args.ifname;
            let strange = |c: char| c == '/' || c == ':' || c.is_whitespace();
            if name.is_empty() || name.len() > 15 || name == "." || name == ".." || name.chars().any(strange)
            {
                return Err(bad(format!("CNI_IFNAME {name:?} is not a valid interface name")));
            }
        }
        if attaches && args.netns.as_os_str().is_empty() {
            return Err(bad("CNI_NETNS is not set".to_owned()));
        }
        Ok(args)
    }
}

/// The configuration that every plugin shares; the rest stays in `extra`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetConf {
    /// Version of the spec that the runtime speaks.
    #[serde(default = "oldest")]
    pub cni_version: String,
    /// Name of the network.
    #[serde(default)]
    pub name: String,
    /// Address management, for plugins that delegate it.
    pub ipam: Option<Value>,
    /// Result of the plugin before, in a chain.
    pub prev_result: Option<CniResult>,
    /// Capability arguments.
    #[serde(default)]
    pub runtime_config: Value,
    /// Attachments that are still valid (GC).
    #[serde(rename = "cni.dev/valid-attachments", default)]
    pub valid_attachments: Vec<Attachment>,
    /// The plugin's own keys.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

fn oldest() -> String {
    VERSIONS[0].to_owned()
}

impl NetConf {
    /// Parses standard input.
    pub fn parse(input: &[u8]) -> Result<Self, CniError> {
        let conf: Self = serde_json::from_slice(input).map_err(|error| {
            CniError::new(Code::Decode, format!("the network configuration is malformed: {error}"))
        })?;
        if !VERSIONS.contains(&conf.cni_version.as_str()) {
            let msg = format!(
                "cniVersion {:?} is not supported; use one of {}",
                conf.cni_version,
                VERSIONS.join(", ")
            );
            return Err(CniError::new(Code::IncompatibleVersion, msg));
        }
        Ok(conf)
    }

    /// The plugin's own keys as a struct.
    pub fn own<T: serde::de::DeserializeOwned>(&self) -> Result<T, CniError> {
        serde_json::from_value(Value::Object(self.extra.clone())).map_err(|error| {
            CniError::new(Code::InvalidConfig, format!("the network configuration is wrong: {error}"))
        })
    }
}

/// An attachment that GC must keep.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct Attachment {
    /// Container.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// Interface.
    pub ifname: String,
}

/// An interface in a result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its hardware address.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// The namespace path for container interfaces, empty for the host's.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sandbox: String,
}

/// An address in a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpConfig {
    /// Address with prefix length.
    pub address: IpNet,
    /// Gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Index into the result's interfaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<usize>,
}

/// A route in a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteConfig {
    /// Destination.
    pub dst: IpNet,
    /// Next hop; the address's gateway when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gw: Option<IpAddr>,
}

/// A successful result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CniResult {
    /// Version of the spec.
    #[serde(default)]
    pub cni_version: String,
    /// Interfaces made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Interface>,
    /// Addresses given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<IpConfig>,
    /// Routes made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteConfig>,
    /// Resolver settings, passed through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn environment_is_checked() {
        let good =
            [("CNI_COMMAND", "ADD"), ("CNI_CONTAINERID", "a1"), ("CNI_NETNS", "/n"), ("CNI_IFNAME", "eth0")];
        assert_eq!(Args::from_env(env(&good)).unwrap().command, Command::Add);
        for bad in [
            vec![("CNI_COMMAND", "FLY")],
            vec![
                ("CNI_COMMAND", "ADD"),
                ("CNI_CONTAINERID", "../x"),
                ("CNI_NETNS", "/n"),
                ("CNI_IFNAME", "eth0"),
            ],
            vec![
                ("CNI_COMMAND", "ADD"),
                ("CNI_CONTAINERID", "a"),
                ("CNI_NETNS", "/n"),
                ("CNI_IFNAME", "e/0"),
            ],
            vec![("CNI_COMMAND", "ADD"), ("CNI_CONTAINERID", "a"), ("CNI_IFNAME", "eth0")],
        ] {
            assert_eq!(Args::from_env(env(&bad)).unwrap_err().code, Code::InvalidEnvironment);
        }
    }

    #[test]
    fn unknown_versions_are_refused() {
        let error = NetConf::parse(br#"{"cniVersion":"9.0.0","name":"x"}"#).unwrap_err();
        assert_eq!(error.code, Code::IncompatibleVersion);
        assert_eq!(NetConf::parse(b"{").unwrap_err().code, Code::Decode);
    }
}
