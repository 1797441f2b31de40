//! What breaks a level, in upstream's words.

use api::common::items;
use api::k8s_openapi::api::core::v1::{Container, PodSpec, Probe, SecurityContext};
use api::k8s_openapi::api::core::v1::{ContainerPort, Lifecycle};
use std::fmt;

/// Reason and detail of each broken rule, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Violations(Vec<(String, String)>);

impl Violations {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn add(&mut self, reason: impl Into<String>, detail: impl Into<String>) {
        self.0.push((reason.into(), detail.into()));
    }

    /// Adds one about containers, unless there are none. `rest` follows their names.
    pub(super) fn containers(&mut self, reason: &str, names: &[&str], rest: &str) {
        if !names.is_empty() {
            self.add(reason, format!("{} {rest}", containers(names)));
        }
    }

    /// The reasons alone.
    pub(super) fn reasons(&self) -> String {
        self.0.iter().map(|(reason, _)| reason.as_str()).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (reason, detail)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            if detail.is_empty() {
                write!(f, "{comma}{reason}")?;
            } else {
                write!(f, "{comma}{reason} ({detail})")?;
            }
        }
        Ok(())
    }
}

/// `container "a"` or `containers "a", "b"`.
pub(super) fn containers(names: &[&str]) -> String {
    let word = if names.len() == 1 { "container" } else { "containers" };
    format!("{word} {}", quoted(names))
}

pub(super) fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}

/// What the checks look at in any kind of container.
pub(super) struct View<'a> {
    pub(super) name: &'a str,
    pub(super) security: Option<&'a SecurityContext>,
    pub(super) ports: &'a [ContainerPort],
    pub(super) probes: [Option<&'a Probe>; 3],
    pub(super) lifecycle: Option<&'a Lifecycle>,
}

/// Every container of a pod: init, ordinary, ephemeral.
pub(super) fn views(spec: &PodSpec) -> Vec<View<'_>> {
    let mut all: Vec<View<'_>> = Vec::new();
    all.extend(items(&spec.init_containers).iter().map(view));
    all.extend(spec.containers.iter().map(view));
    all.extend(items(&spec.ephemeral_containers).iter().map(|c| View {
        name: &c.name,
        security: c.security_context.as_ref(),
        ports: items(&c.ports),
        probes: [c.liveness_probe.as_ref(), c.readiness_probe.as_ref(), c.startup_probe.as_ref()],
        lifecycle: c.lifecycle.as_ref(),
    }));
    all
}

fn view(c: &Container) -> View<'_> {
    View {
        name: &c.name,
        security: c.security_context.as_ref(),
        ports: items(&c.ports),
        probes: [c.liveness_probe.as_ref(), c.readiness_probe.as_ref(), c.startup_probe.as_ref()],
        lifecycle: c.lifecycle.as_ref(),
    }
}
