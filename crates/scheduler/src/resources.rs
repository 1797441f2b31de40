//! Amounts of resources: what pods ask for and what nodes have.

use k8s_openapi::api::core::v1::{Container, Node, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use machinery::quantity::Quantity as Amount;
use std::collections::BTreeMap;

/// A request counts as at least this much when nodes are compared, so that pods without requests spread too
/// (upstream's defaults for scoring).
const SCORING_MILLI_CPU: i64 = 100;
const SCORING_MEMORY: i64 = 200 << 20;

/// Amounts by resource. CPU is in thousandths of a core, everything else in the resource's own unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Thousandths of a core.
    pub milli_cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes of ephemeral storage.
    pub ephemeral: i64,
    /// Number of pods.
    pub pods: i64,
    /// Everything else, by name.
    pub scalar: BTreeMap<String, i64>,
}

impl Resources {
    /// Reads a resource list; unreadable quantities (which validation refuses) count as nothing.
    pub fn from_list(list: &BTreeMap<String, Quantity>) -> Self {
        let mut resources = Self::default();
        for (name, quantity) in list {
            let Ok(amount) = Amount::parse(&quantity.0) else { continue };
            match name.as_str() {
                "cpu" => resources.milli_cpu = amount.milli_value(),
                "memory" => resources.memory = amount.value(),
                "ephemeral-storage" => resources.ephemeral = amount.value(),
                "pods" => resources.pods = amount.value(),
                _ => {
                    resources.scalar.insert(name.clone(), amount.value());
                }
            }
        }
        resources
    }

    /// What a node can give to pods.
    pub fn allocatable(node: &Node) -> Self {
        node.status
            .as_ref()
            .and_then(|status| status.allocatable.as_ref())
            .map(Self::from_list)
            .unwrap_or_default()
    }

    /// What a pod asks for: the larger of its containers together and its init containers in turn, where
    /// sidecars (KEP-753) count from their start on; plus overhead (KEP-688). Pod-level requests win where set.
    pub fn requested(pod: &Pod) -> Self {
        let Some(spec) = &pod.spec else { return Self::default() };
        let mut total = Self::default();
        for container in &spec.containers {
            total.add(&container_requests(container));
        }
        let (mut sidecars, mut peak) = (Self::default(), Self::default());
        for container in spec.init_containers.iter().flatten() {
            let mut needs = container_requests(container);
            if container.restart_policy.as_deref() == Some("Always") {
                sidecars.add(&needs);
                peak.raise_to(&sidecars);
            } else {
                needs.add(&sidecars);
                peak.raise_to(&needs);
            }
        }
        total.add(&sidecars);
        total.raise_to(&peak);
        total.override_with(spec);
        if let Some(overhead) = &spec.overhead {
            total.add(&Self::from_list(overhead));
        }
        total.pods = 1;
        total
    }

    fn override_with(&mut self, spec: &PodSpec) {
        let Some(requests) = spec.resources.as_ref().and_then(|r| r.requests.as_ref()) else { return };
        let pod = Self::from_list(requests);
        if requests.contains_key("cpu") {
            self.milli_cpu = pod.milli_cpu;
        }
        if requests.contains_key("memory") {
            self.memory = pod.memory;
        }
        self.scalar.extend(pod.scalar);
    }

    /// Adds `other`.
    pub fn add(&mut self, other: &Self) {
        self.combine(other, i64::saturating_add);
    }

    /// Takes `other` away.
    pub fn subtract(&mut self, other: &Self) {
        self.combine(other, i64::saturating_sub);
    }

    fn raise_to(&mut self, other: &Self) {
        self.combine(other, i64::max);
    }

    fn combine(&mut self, other: &Self, by: fn(i64, i64) -> i64) {
        self.milli_cpu = by(self.milli_cpu, other.milli_cpu);
        self.memory = by(self.memory, other.memory);
        self.ephemeral = by(self.ephemeral, other.ephemeral);
        self.pods = by(self.pods, other.pods);
        for (name, amount) in &other.scalar {
            let entry = self.scalar.entry(name.clone()).or_default();
            *entry = by(*entry, *amount);
        }
    }

    /// The same request as scoring sees it: a pod that asks for nothing counts as a small one.
    #[must_use]
    pub fn for_scoring(mut self) -> Self {
        if self.milli_cpu == 0 {
            self.milli_cpu = SCORING_MILLI_CPU;
        }
        if self.memory == 0 {
            self.memory = SCORING_MEMORY;
        }
        self
    }

    /// The names of what `request` lacks here when `used` is taken already, in upstream's order.
    pub fn lacking(&self, used: &Self, request: &Self) -> Vec<String> {
        let short = |have: i64, used: i64, want: i64| want > 0 && want > have.saturating_sub(used);
        let mut missing = Vec::new();
        for (name, have, used, want) in [
            ("cpu", self.milli_cpu, used.milli_cpu, request.milli_cpu),
            ("memory", self.memory, used.memory, request.memory),
            ("ephemeral-storage", self.ephemeral, used.ephemeral, request.ephemeral),
        ] {
            if short(have, used, want) {
                missing.push(name.to_owned());
            }
        }
        for (name, want) in &request.scalar {
            let have = self.scalar.get(name).copied().unwrap_or(0);
            if short(have, used.scalar.get(name).copied().unwrap_or(0), *want) {
                missing.push(name.clone());
            }
        }
        missing
    }
}

/// What a container asks for: its requests, and its limits where it names no request.
fn container_requests(container: &Container) -> Resources {
    let Some(resources) = &container.resources else { return Resources::default() };
    let mut list = resources.limits.clone().unwrap_or_default();
    list.extend(resources.requests.clone().unwrap_or_default());
    Resources::from_list(&list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Kind;

    fn pod(spec: serde_json::Value) -> Pod {
        let pod =
            serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec});
        Pod::from_json(pod.to_string().as_bytes()).unwrap()
    }

    fn cpu(amount: &str) -> serde_json::Value {
        serde_json::json!({"requests": {"cpu": amount}})
    }

    #[test]
    fn requests_follow_the_init_sequence() {
        let pod = pod(serde_json::json!({
            "containers": [{"name": "a", "resources": cpu("100m")}, {"name": "b", "resources": cpu("200m")}],
            "initContainers": [
                {"name": "first", "resources": cpu("250m")},
                {"name": "sidecar", "restartPolicy": "Always", "resources": cpu("50m")},
                {"name": "second", "resources": cpu("500m")},
            ],
            "overhead": {"cpu": "10m"},
        }));
        // The second init container runs beside the sidecar: 550m, more than 300m + 50m of the containers.
        assert_eq!(Resources::requested(&pod).milli_cpu, 560);
    }

    #[test]
    fn limits_stand_in_for_requests() {
        let pod = pod(
            serde_json::json!({"containers": [{"name": "a", "resources": {"limits": {"memory": "1Gi"}}}]}),
        );
        assert_eq!(Resources::requested(&pod).memory, 1 << 30);
    }

    #[test]
    fn lacking_names_what_is_short() {
        let have = Resources { milli_cpu: 1000, memory: 100, ..Resources::default() };
        let used = Resources { milli_cpu: 900, ..Resources::default() };
        let want = Resources {
            milli_cpu: 200,
            memory: 100,
            scalar: BTreeMap::from([("example.com/gpu".to_owned(), 1)]),
            ..Resources::default()
        };
        assert_eq!(have.lacking(&used, &want), ["cpu", "example.com/gpu"]);
    }
}
