//! KubeletConfiguration (`kubelet.config.k8s.io/v1beta1`): the fields that this kubelet uses, read into [`Config`].
//!
//! Unknown fields are listed, not refused, so that a file written for upstream works as far as it can.

use crate::config::Config;
use crate::quantity;
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::time::Duration;

/// A file that is no KubeletConfiguration, or has a field that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "failed to read the kubelet's configuration: {0}; see https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/"
)]
pub struct FileError(String);

/// Larger files are refused, in bytes.
const MAX_BYTES: usize = 1 << 20;

fn bad(field: &str, want: &str) -> FileError {
    FileError(format!("{field} must be {want}"))
}

/// A duration as Go writes it (`10s`, `1m30s`).
fn duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let tail = &rest[digits..];
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let unit = match &tail[..end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => return None,
        };
        total += Duration::try_from_secs_f64(number * unit).ok()?;
        rest = &tail[end..];
    }
    Some(total)
}

struct Reader<'a>(&'a Map<String, Value>);

impl Reader<'_> {
    fn text(&self, field: &str) -> Result<Option<String>, FileError> {
        self.with(field, "a string", |v| v.as_str().map(str::to_owned))
    }

    fn flag(&self, field: &str) -> Result<Option<bool>, FileError> {
        self.with(field, "true or false", Value::as_bool)
    }

    fn number(&self, field: &str) -> Result<Option<u32>, FileError> {
        self.with(field, "a whole number that is not negative", |v| {
            v.as_u64().and_then(|n| u32::try_from(n).ok())
        })
    }

    fn duration(&self, field: &str) -> Result<Option<Duration>, FileError> {
        self.with(field, "a duration such as \"10s\"", |v| v.as_str().and_then(duration))
    }

    fn list(&self, field: &str) -> Result<Option<Vec<String>>, FileError> {
        self.with(field, "a list of strings", |v| {
            v.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
        })
    }

    fn with<T>(
        &self,
        field: &str,
        want: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, FileError> {
        match self.0.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| bad(field, want)),
        }
    }
}

fn set<T>(target: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *target = value;
    }
}

fn percent_or_bytes(text: &str) -> Option<Result<f64, u64>> {
    if let Some(percent) = text.strip_suffix('%') {
        return percent.parse::<f64>().ok().map(|p| Ok(p / 100.0));
    }
    u64::try_from(quantity::units(text)).ok().map(Err)
}

fn eviction(config: &mut Config, fields: &Map<String, Value>) -> Result<(), FileError> {
    for (signal, value) in fields {
        let name = format!("evictionHard.{signal}");
        let text = value.as_str().ok_or_else(|| bad(&name, "a string"))?;
        let limits = &mut config.eviction;
        match (signal.as_str(), percent_or_bytes(text)) {
            ("memory.available", Some(Err(bytes))) => limits.memory_available = bytes,
            ("nodefs.available", Some(Ok(share))) => limits.nodefs_available = share,
            ("nodefs.inodesFree", Some(Ok(share))) => limits.nodefs_inodes_free = share,
            ("pid.available", Some(Ok(share))) => limits.pid_available = share,
            (_, None) => return Err(bad(&name, "a quantity or a percentage")),
            (_, Some(_)) => {
                tracing::warn!("{name}={text} is not supported by this version of Windlass and ignored")
            }
        }
    }
    Ok(())
}

/// Fields that are read.
const KNOWN: &[&str] = &[
    "apiVersion",
    "kind",
    "address",
    "port",
    "staticPodPath",
    "clusterDNS",
    "clusterDomain",
    "resolvConf",
    "maxPods",
    "nodeStatusUpdateFrequency",
    "nodeStatusReportFrequency",
    "nodeLeaseDurationSeconds",
    "cgroupRoot",
    "cgroupsPerQOS",
    "seccompDefault",
    "containerRuntimeEndpoint",
    "imageGCHighThresholdPercent",
    "imageGCLowThresholdPercent",
    "containerLogMaxSize",
    "containerLogMaxFiles",
    "podLogsDir",
    "evictionHard",
    "crashLoopBackOff",
    "authentication",
    "systemReserved",
    "registerWithTaints",
];

/// Puts what the file says on top of `config`. The file is YAML or JSON.
pub fn apply(config: &mut Config, file: &str) -> Result<(), FileError> {
    if file.len() > MAX_BYTES {
        return Err(FileError(format!("the file is larger than {MAX_BYTES} bytes")));
    }
    let parsed: Value = serde_saphyr::from_str(file).map_err(|error| FileError(error.to_string()))?;
    let Value::Object(fields) = parsed else { return Err(FileError("it is not a mapping".to_owned())) };
    if fields.get("kind").and_then(Value::as_str) != Some("KubeletConfiguration") {
        return Err(bad("kind", "KubeletConfiguration"));
    }
    let version = fields.get("apiVersion").and_then(Value::as_str);
    if version != Some("kubelet.config.k8s.io/v1beta1") {
        return Err(bad("apiVersion", "kubelet.config.k8s.io/v1beta1"));
    }
    for field in fields.keys().filter(|f| !KNOWN.contains(&f.as_str())) {
        tracing::warn!(
            "{field} of the kubelet's configuration is not supported by this version of Windlass and ignored"
        );
    }
    let read = Reader(&fields);
    set(&mut config.cluster_dns, read.list("clusterDNS")?);
    set(&mut config.cluster_domain, read.text("clusterDomain")?);
    set(&mut config.resolv_conf, read.text("resolvConf")?.map(PathBuf::from));
    set(&mut config.static_pod_path, read.text("staticPodPath")?.map(|p| Some(PathBuf::from(p))));
    set(&mut config.pod_logs_dir, read.text("podLogsDir")?.map(PathBuf::from));
    set(&mut config.runtime_endpoint, read.text("containerRuntimeEndpoint")?);
    set(&mut config.cgroup_root, read.text("cgroupRoot")?);
    set(&mut config.cgroups_per_qos, read.flag("cgroupsPerQOS")?);
    set(&mut config.seccomp_default, read.flag("seccompDefault")?);
    set(&mut config.max_pods, read.number("maxPods")?);
    set(&mut config.port, read.number("port")?.and_then(|p| u16::try_from(p).ok()));
    set(&mut config.node_status_update_frequency, read.duration("nodeStatusUpdateFrequency")?);
    set(&mut config.node_status_report_frequency, read.duration("nodeStatusReportFrequency")?);
    let lease = read.number("nodeLeaseDurationSeconds")?.and_then(|n| i32::try_from(n).ok());
    set(&mut config.node_lease_duration_seconds, lease);
    let percent = |value: Option<u32>| value.and_then(|n| u8::try_from(n).ok());
    set(&mut config.image_gc_high_threshold_percent, percent(read.number("imageGCHighThresholdPercent")?));
    set(&mut config.image_gc_low_threshold_percent, percent(read.number("imageGCLowThresholdPercent")?));
    let size = read.text("containerLogMaxSize")?.and_then(|s| u64::try_from(quantity::units(&s)).ok());
    set(&mut config.container_log_max_size, size);
    set(&mut config.container_log_max_files, read.number("containerLogMaxFiles")?);
    nested(config, &fields)
}

fn nested(config: &mut Config, fields: &Map<String, Value>) -> Result<(), FileError> {
    let object = |name: &str| fields.get(name).and_then(Value::as_object);
    if let Some(thresholds) = object("evictionHard") {
        eviction(config, thresholds)?;
    }
    if let Some(crash) = object("crashLoopBackOff") {
        let longest = Reader(crash).duration("maxContainerRestartPeriod")?;
        set(&mut config.max_container_restart_period, longest);
    }
    if let Some(anonymous) = object("authentication").and_then(|a| a.get("anonymous")?.as_object()) {
        set(&mut config.anonymous_auth, Reader(anonymous).flag("enabled")?);
    }
    if let Some(reserved) = object("systemReserved") {
        let read = Reader(reserved);
        set(&mut config.reserved_milli_cpu, read.text("cpu")?.map(|q| quantity::milli(&q)));
        set(&mut config.reserved_memory, read.text("memory")?.map(|q| quantity::units(&q)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config::new("n", Vec::new(), PathBuf::from("/tmp/x"), "/tmp/r.sock")
    }

    #[test]
    fn reads_the_fields_of_the_file() {
        let mut config = config();
        let file = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nmaxPods: 20\n\
            clusterDNS: [10.96.0.10]\nnodeStatusUpdateFrequency: 1m30s\nevictionHard:\n  memory.available: 200Mi\n  \
            nodefs.available: 5%\nunheardOf: 1\ncontainerLogMaxSize: 1Mi\n";
        apply(&mut config, file).unwrap();
        assert_eq!((config.max_pods, config.cluster_dns), (20, vec!["10.96.0.10".to_owned()]));
        assert_eq!(config.node_status_update_frequency, Duration::from_secs(90));
        assert_eq!(config.eviction.memory_available, 200 << 20);
        assert!((config.eviction.nodefs_available - 0.05).abs() < 1e-9);
        assert_eq!(config.container_log_max_size, 1 << 20);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";
        for (file, want) in [
            (format!("{head}maxPods: lots\n"), "maxPods"),
            (format!("{head}nodeStatusUpdateFrequency: 10 parsecs\n"), "nodeStatusUpdateFrequency"),
            ("kind: Pod\n".to_owned(), "kind"),
            ("[".to_owned(), "failed to read"),
        ] {
            assert!(apply(&mut config(), &file).unwrap_err().to_string().contains(want), "{file}");
        }
    }
}
