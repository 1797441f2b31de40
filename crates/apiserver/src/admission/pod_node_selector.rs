//! PodNodeSelector: pods of a namespace go to the nodes that its annotation names, and a list of what their own
//! selectors may ask for.

use super::namespace_lifecycle::{missing, namespace};
use super::{forbidden, pod, pod_mut};
use crate::contract::{Admission, AdmissionRequest, Context, Operation};
use async_trait::async_trait;
use machinery::Status;
use serde_json::Value;
use std::collections::BTreeMap;

const ANNOTATION: &str = "scheduler.alpha.kubernetes.io/node-selector";
const DEFAULT: &str = "clusterDefaultNodeSelector";

type Labels = BTreeMap<String, String>;

pub(super) struct PodNodeSelector {
    context: Context,
    /// By namespace, as the configuration has them.
    configured: BTreeMap<String, Labels>,
}

/// `a=b,c=d`.
fn parse(text: &str) -> Result<Labels, Status> {
    let mut labels = Labels::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(Status::bad_request(format!(
                "failed to read the node selector {text:?}: {pair:?} is no label"
            )));
        };
        labels.insert(key.trim().to_owned(), value.trim_start_matches('=').trim().to_owned());
    }
    Ok(labels)
}

fn conflict(a: &Labels, b: &Labels) -> bool {
    a.iter().any(|(key, value)| b.get(key).is_some_and(|other| other != value))
}

impl PodNodeSelector {
    /// `configuration` is a map `podNodeSelectorPluginConfig` of namespaces to selectors.
    pub(super) fn new(context: &Context, configuration: Option<&Value>) -> Result<Self, Status> {
        let map = configuration
            .and_then(|value| value.get("podNodeSelectorPluginConfig"))
            .and_then(Value::as_object);
        let mut configured = BTreeMap::new();
        for (namespace, selector) in map.into_iter().flatten() {
            configured.insert(namespace.clone(), parse(selector.as_str().unwrap_or_default())?);
        }
        Ok(Self { context: context.clone(), configured })
    }

    async fn of_namespace(&self, name: &str) -> Result<Labels, Status> {
        let found = namespace(&self.context, name).await?.ok_or_else(|| missing(name))?;
        match found.meta().annotations.as_ref().and_then(|all| all.get(ANNOTATION)) {
            Some(selector) => parse(selector),
            None => Ok(self.configured.get(DEFAULT).cloned().unwrap_or_default()),
        }
    }
}

#[async_trait]
impl Admission for PodNodeSelector {
    fn name(&self) -> &'static str {
        "PodNodeSelector"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    async fn admit(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        if pod(request).is_none() {
            return Ok(());
        }
        let wanted = self.of_namespace(&request.namespace).await?;
        let own = pod(request).and_then(|pod| pod.spec.as_ref()?.node_selector.clone()).unwrap_or_default();
        if conflict(&wanted, &own) {
            return Err(forbidden(
                request,
                "pod node label selector conflicts with its namespace node label selector",
            ));
        }
        if let Some(spec) = pod_mut(request).and_then(|pod| pod.spec.as_mut())
            && !wanted.is_empty()
        {
            spec.node_selector.get_or_insert_default().extend(wanted);
        }
        Ok(())
    }

    async fn validate(&self, request: &AdmissionRequest) -> Result<(), Status> {
        let Some(spec) = pod(request).and_then(|pod| pod.spec.as_ref()) else { return Ok(()) };
        let own = spec.node_selector.clone().unwrap_or_default();
        if conflict(&self.of_namespace(&request.namespace).await?, &own) {
            return Err(forbidden(
                request,
                "pod node label selector conflicts with its namespace node label selector",
            ));
        }
        // Whatever a pod selects must be on the namespace's list, if it has one.
        if let Some(allowed) = self.configured.get(&request.namespace)
            && own.iter().any(|(key, value)| allowed.get(key) != Some(value))
        {
            return Err(forbidden(
                request,
                "pod node label selector labels conflict with its namespace whitelist",
            ));
        }
        Ok(())
    }
}
