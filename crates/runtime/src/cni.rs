//! Running CNI plugins by the specification (1.1.0): configuration from a directory, plugins as programs, results
//! kept so that what was added can be taken away after a restart.

use serde_json::{Map, Value, json};
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::AsyncWriteExt;

/// The largest configuration file or plugin output accepted, in bytes.
const MAX_BYTES: usize = 1 << 20;

/// The interface of a pod.
const INTERFACE: &str = "eth0";

/// Why the network of a pod could not be made or taken away.
#[derive(Debug, thiserror::Error)]
pub enum CniError {
    /// There is no usable configuration.
    #[error("cni plugin not initialized: no network config found in {}; put a .conflist file there", .0.display())]
    NotConfigured(PathBuf),
    /// A configuration cannot be used.
    #[error("failed to use CNI configuration {}: {why}; correct the file", .path.display())]
    Configuration {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A plugin is not there.
    #[error("failed to find plugin {0:?} in path {1:?}; install it there")]
    NoPlugin(String, Vec<PathBuf>),
    /// A plugin failed.
    #[error("plugin type={plugin:?} failed ({command}): {why}")]
    Plugin {
        /// Which.
        plugin: String,
        /// What it was to do.
        command: &'static str,
        /// In its own words where it has any.
        why: String,
    },
}

/// Where configuration and plugins are.
#[derive(Clone, Debug)]
pub struct Cni {
    /// Directory of configuration files; the first by name counts.
    pub conf_dir: PathBuf,
    /// Directories of plugins.
    pub bin_dirs: Vec<PathBuf>,
    /// Where results are kept, for the plugins that read earlier ones.
    pub cache_dir: PathBuf,
}

/// A network configuration list.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkList {
    name: String,
    version: String,
    plugins: Vec<Map<String, Value>>,
}

/// What a pod's network is made for.
#[derive(Clone, Debug)]
pub struct Attachment<'a> {
    /// The sandbox's id.
    pub id: &'a str,
    /// Path of its network namespace.
    pub netns: &'a Path,
    /// `K8S_POD_NAMESPACE` and the like.
    pub args: Vec<(&'static str, String)>,
    /// What the runtime offers to plugins that declare the capability, such as `portMappings`.
    pub capabilities: Map<String, Value>,
}

impl Cni {
    /// The configuration that counts now. Read each time: it may be written after the runtime has started.
    pub fn network(&self) -> Result<NetworkList, CniError> {
        let none = || CniError::NotConfigured(self.conf_dir.clone());
        let entries = std::fs::read_dir(&self.conf_dir).map_err(|_| none())?;
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.retain(|path| {
            path.extension().is_some_and(|kind| kind == "conflist" || kind == "conf" || kind == "json")
        });
        files.sort();
        let path = files.first().ok_or_else(none)?;
        let wrong = |why: String| CniError::Configuration { path: path.clone(), why };
        let text = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        if text.len() > MAX_BYTES {
            return Err(wrong(format!("it is larger than {MAX_BYTES} bytes")));
        }
        NetworkList::parse(&text).map_err(wrong)
    }

    /// Makes the pod's network. Returns its addresses, in the plugins' order. On failure what was made is taken away.
    pub async fn add(&self, list: &NetworkList, to: &Attachment<'_>) -> Result<Vec<IpAddr>, CniError> {
        let mut result = Value::Null;
        for plugin in &list.plugins {
            match self.call("ADD", list, plugin, to, &result).await {
                Ok(output) => result = output,
                Err(error) => {
                    self.delete_plugins(list, to, &Value::Null).await.ok();
                    return Err(error);
                }
            }
        }
        let kept = json!({"kind": "cniCacheV1", "containerId": to.id, "ifName": INTERFACE,
            "networkName": list.name, "config": list.to_json(), "result": result,
            "capabilityArgs": to.capabilities});
        let file = self.cache_file(to.id);
        let written = async {
            tokio::fs::create_dir_all(&self.cache_dir).await?;
            tokio::fs::write(&file, kept.to_string()).await
        };
        if let Err(error) = written.await {
            self.delete_plugins(list, to, &result).await.ok();
            return Err(CniError::Configuration { path: file, why: error.to_string() });
        }
        Ok(addresses(&result))
    }

    /// Takes the pod's network away, as it was made. Nothing known of it is not an error.
    pub async fn delete(&self, from: &Attachment<'_>) -> Result<(), CniError> {
        let file = self.cache_file(from.id);
        let Ok(text) = tokio::fs::read(&file).await else { return Ok(()) };
        let kept: Value = serde_json::from_slice(&text).unwrap_or_default();
        let list = match kept.get("config").map(|config| NetworkList::parse(config.to_string().as_bytes())) {
            Some(Ok(list)) => list,
            _ => self.network()?,
        };
        let mut from = from.clone();
        if let Some(Value::Object(capabilities)) = kept.get("capabilityArgs") {
            from.capabilities = capabilities.clone();
        }
        self.delete_plugins(&list, &from, kept.get("result").unwrap_or(&Value::Null)).await?;
        tokio::fs::remove_file(&file).await.ok();
        Ok(())
    }

    /// Asks the plugins whether the pod's network is as they made it.
    pub async fn check(&self, of: &Attachment<'_>) -> Result<(), CniError> {
        let file = self.cache_file(of.id);
        let wrong = |why: String| CniError::Configuration { path: file.clone(), why };
        let text = tokio::fs::read(&file).await.map_err(|error| wrong(error.to_string()))?;
        let kept: Value = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        let config = kept.get("config").cloned().unwrap_or_default();
        let list = NetworkList::parse(config.to_string().as_bytes()).map_err(wrong)?;
        for plugin in &list.plugins {
            self.call("CHECK", &list, plugin, of, kept.get("result").unwrap_or(&Value::Null)).await?;
        }
        Ok(())
    }

    fn cache_file(&self, id: &str) -> PathBuf {
        self.cache_dir.join(format!("{id}.json"))
    }

    async fn delete_plugins(
        &self,
        list: &NetworkList,
        from: &Attachment<'_>,
        result: &Value,
    ) -> Result<(), CniError> {
        for plugin in list.plugins.iter().rev() {
            self.call("DEL", list, plugin, from, result).await?;
        }
        Ok(())
    }

    async fn call(
        &self,
        command: &'static str,
        list: &NetworkList,
        plugin: &Map<String, Value>,
        of: &Attachment<'_>,
        previous: &Value,
    ) -> Result<Value, CniError> {
        let kind = plugin.get("type").and_then(Value::as_str).unwrap_or_default();
        let failed = |why: String| CniError::Plugin { plugin: kind.to_owned(), command, why };
        let program = self.find(kind)?;
        let input = list.plugin_input(plugin, &of.capabilities, previous).to_string();
        let args: Vec<String> = of.args.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let path = std::env::join_paths(&self.bin_dirs).unwrap_or_else(|_| OsString::new());
        let mut child = tokio::process::Command::new(program)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", of.id)
            .env("CNI_NETNS", of.netns)
            .env("CNI_IFNAME", INTERFACE)
            .env("CNI_ARGS", args.join(";"))
            .env("CNI_PATH", path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A plugin that fails early does not read it: its own words matter.
            stdin.write_all(input.as_bytes()).await.ok();
        }
        let output = child.wait_with_output().await.map_err(|error| failed(error.to_string()))?;
        if output.stdout.len() > MAX_BYTES {
            return Err(failed(format!("it answered with more than {MAX_BYTES} bytes")));
        }
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        if output.status.success() {
            return Ok(answer);
        }
        let words = answer.get("msg").and_then(Value::as_str).map(|msg| {
            let details = answer.get("details").and_then(Value::as_str).unwrap_or("");
            if details.is_empty() { msg.to_owned() } else { format!("{msg}; {details}") }
        });
        let said = || String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(failed(
            words
                .filter(|words| !words.is_empty())
                .unwrap_or_else(|| format!("{}: {}", output.status, said())),
        ))
    }

    fn find(&self, kind: &str) -> Result<PathBuf, CniError> {
        let missing = || CniError::NoPlugin(kind.to_owned(), self.bin_dirs.clone());
        if kind.is_empty() || kind.contains('/') || kind.starts_with('.') {
            return Err(missing());
        }
        self.bin_dirs.iter().map(|dir| dir.join(kind)).find(|path| path.is_file()).ok_or_else(missing)
    }
}

impl NetworkList {
    /// A list, or a single plugin's configuration as a list of one.
    fn parse(text: &[u8]) -> Result<Self, String> {
        let config: Map<String, Value> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let word = |key: &str| config.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let plugins = match config.get("plugins") {
            Some(Value::Array(plugins)) => {
                plugins.iter().filter_map(|plugin| plugin.as_object().cloned()).collect()
            }
            _ if config.contains_key("type") => vec![config.clone()],
            _ => Vec::new(),
        };
        let list = Self { name: word("name"), version: word("cniVersion"), plugins };
        if list.name.is_empty() {
            return Err("it has no \"name\"".to_owned());
        }
        if list.plugins.is_empty() || list.plugins.iter().any(|plugin| !plugin.contains_key("type")) {
            return Err("it has no plugins, or one without \"type\"".to_owned());
        }
        Ok(list)
    }

    fn to_json(&self) -> Value {
        json!({"cniVersion": self.version, "name": self.name, "plugins": self.plugins})
    }

    // Section 3 of the specification: name and version of the list, declared capabilities, the previous result.
    fn plugin_input(
        &self,
        plugin: &Map<String, Value>,
        offered: &Map<String, Value>,
        previous: &Value,
    ) -> Value {
        let mut input = plugin.clone();
        input.insert("name".into(), self.name.clone().into());
        input.insert("cniVersion".into(), self.version.clone().into());
        if let Some(Value::Object(declared)) = input.remove("capabilities") {
            let wanted = |name: &String| declared.get(name).and_then(Value::as_bool).unwrap_or(false);
            let passed: Map<String, Value> = offered
                .iter()
                .filter(|(name, _)| wanted(name))
                .map(|(n, v)| (n.clone(), v.clone()))
                .collect();
            if !passed.is_empty() {
                input.insert("runtimeConfig".into(), Value::Object(passed));
            }
        }
        if !previous.is_null() {
            input.insert("prevResult".into(), previous.clone());
        }
        Value::Object(input)
    }
}

/// The addresses of a result that belong to the pod's own interface; older results say nothing of interfaces.
fn addresses(result: &Value) -> Vec<IpAddr> {
    let interfaces = result.get("interfaces").and_then(Value::as_array);
    let inside = |index: u64| {
        let interface = interfaces.and_then(|all| all.get(usize::try_from(index).ok()?));
        interface
            .is_none_or(|found| found.get("sandbox").and_then(Value::as_str).is_some_and(|s| !s.is_empty()))
    };
    let all = result.get("ips").and_then(Value::as_array).cloned().unwrap_or_default();
    all.iter()
        .filter(|ip| ip.get("interface").and_then(Value::as_u64).is_none_or(inside))
        .filter_map(|ip| ip.get("address")?.as_str()?.split('/').next()?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_the_pods_addresses_count() {
        let result = json!({"interfaces": [{"name": "cni0"}, {"name": "eth0", "sandbox": "/x"}],
            "ips": [{"interface": 0, "address": "10.1.0.1/16"}, {"interface": 1, "address": "10.1.0.7/16"},
                    {"address": "fd00::7/64"}]});
        let found: Vec<String> = addresses(&result).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["10.1.0.7", "fd00::7"]);
    }

    // A plugin that writes down what it was told.
    fn plugin(dir: &Path, name: &str, body: &str) {
        let path = dir.join(name);
        let log = dir.join("log");
        let text = format!(
            "#!/bin/sh\nread -r config\necho \"{name} $CNI_COMMAND $CNI_IFNAME $config\" >>{}\n{body}\n",
            log.display()
        );
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[tokio::test]
    async fn plugins_run_in_order_and_are_undone_in_reverse() {
        let dir = tempfile::tempdir().unwrap();
        let cni = Cni {
            conf_dir: dir.path().join("conf"),
            bin_dirs: vec![dir.path().to_owned()],
            cache_dir: dir.path().join("cache"),
        };
        assert!(matches!(cni.network(), Err(CniError::NotConfigured(_))));
        std::fs::create_dir(&cni.conf_dir).unwrap();
        let conf = json!({"cniVersion": "1.0.0", "name": "n", "plugins": [
            {"type": "one"}, {"type": "two", "capabilities": {"portMappings": true, "other": true}}]});
        std::fs::write(cni.conf_dir.join("10-n.conflist"), conf.to_string()).unwrap();
        plugin(dir.path(), "one", r#"echo '{"cniVersion":"1.0.0","ips":[{"address":"10.9.0.2/24"}]}'"#);
        plugin(dir.path(), "two", r#"echo '{"cniVersion":"1.0.0","ips":[{"address":"10.9.0.2/24"}]}'"#);
        let capabilities: Map<String, Value> =
            [("portMappings".to_owned(), json!([{"hostPort": 1}]))].into_iter().collect();
        let to = Attachment { id: "s", netns: Path::new("/ns"), args: vec![], capabilities };
        let list = cni.network().unwrap();
        assert_eq!(cni.add(&list, &to).await.unwrap(), ["10.9.0.2".parse::<IpAddr>().unwrap()]);
        let bare = Attachment { capabilities: Map::new(), ..to.clone() };
        cni.check(&bare).await.unwrap();
        cni.delete(&bare).await.unwrap();
        cni.delete(&bare).await.unwrap();
        let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
        let calls: Vec<String> =
            log.lines().map(|line| line.split(' ').take(3).collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            calls,
            [
                "one ADD eth0",
                "two ADD eth0",
                "one CHECK eth0",
                "two CHECK eth0",
                "two DEL eth0",
                "one DEL eth0"
            ]
        );
        let inputs: Vec<Value> = log
            .lines()
            .map(|line| serde_json::from_str(line.splitn(4, ' ').nth(3).unwrap()).unwrap())
            .collect();
        assert!(inputs[0].get("prevResult").is_none() && inputs[1]["prevResult"]["ips"].is_array());
        assert_eq!(inputs[1]["runtimeConfig"], json!({"portMappings": [{"hostPort": 1}]}));
        assert_eq!(inputs[4]["runtimeConfig"], inputs[1]["runtimeConfig"]);
        plugin(
            dir.path(),
            "two",
            r#"echo '{"code": 7, "msg": "no more addresses", "details": "pool empty"}'; exit 1"#,
        );
        let error = cni.add(&list, &to).await.unwrap_err().to_string();
        assert!(error.contains("type=\"two\" failed (ADD): no more addresses; pool empty"), "{error}");
    }
}
