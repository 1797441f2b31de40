//! ResourceQuota: a write that would take a namespace over its quota is refused, also when many come at once.
//!
//! Each charge is a compare-and-swap on the quota's status, so that no two writes take the same room. What is
//! released by deletions is given back by the quota controller. Source: "Resource Quotas". Deliberately absent:
//! `--admission-control-config-file` with limited resources.

use super::{forbidden, list};
use crate::contract::{Admission, AdmissionRequest, Context, Operation};
use api::Object;
use api::common::amounts::parse;
use api::k8s_openapi::api::core::v1::{ResourceQuota, ResourceQuotaStatus};
use api::k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use api::quota::usage::Usage;
use api::quota::{scopes, usage};
use api::transport::{Target, WriteOptions};
use async_trait::async_trait;
use machinery::quantity::{Format, Quantity as Amount};
use machinery::{GroupVersionResource, Status};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Lost races after which a write gives up; each one means that another write went through.
const ATTEMPTS: usize = 256;

pub(super) struct ResourceQuotas {
    context: Context,
}

impl ResourceQuotas {
    pub(super) fn new(context: &Context) -> Self {
        Self { context: context.clone() }
    }

    fn target(namespace: &str, name: &str) -> Target {
        Target::all(GroupVersionResource::new("", "v1", "resourcequotas")).in_namespace(namespace).named(name)
    }

    /// Charges one quota, or says why not.
    async fn charge(
        &self,
        request: &AdmissionRequest,
        object: &dyn Object,
        mut quota: Arc<ResourceQuota>,
    ) -> Result<(), Status> {
        let name = quota.metadata.name.clone().unwrap_or_default();
        let target = Self::target(&request.namespace, &name);
        for _ in 0..ATTEMPTS {
            let Some(changed) = self.plan(request, object, &quota).await? else { return Ok(()) };
            if request.dry_run {
                return Ok(());
            }
            let body = changed.to_json().into();
            match self
                .context
                .loopback
                .update(&target.clone().sub("status"), body, &WriteOptions::default())
                .await
            {
                Ok(_) => return Ok(()),
                Err(error) if error.is_conflict() => {}
                Err(error) if error.is_not_found() => return Ok(()),
                Err(error) => return Err(error),
            }
            match self.context.loopback.get(&target).await {
                Ok(fresh) => quota = fresh.get().map_err(Status::internal)?,
                Err(error) if error.is_not_found() => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Err(Status::conflict(
            &request.group_resource(),
            &request.name,
            format!("the quota {name:?} is contended; try again"),
        ))
    }

    /// The quota as it should be after the write; `None` when the write takes nothing of it.
    async fn plan(
        &self,
        request: &AdmissionRequest,
        object: &dyn Object,
        quota: &ResourceQuota,
    ) -> Result<Option<ResourceQuota>, Status> {
        let hard = quota.spec.as_ref().and_then(|spec| spec.hard.clone()).unwrap_or_default();
        let taken = taken(request, object, quota, &hard)?;
        if taken.is_empty() {
            return Ok(None);
        }
        let name = quota.metadata.name.as_deref().unwrap_or_default();
        let mut status = quota.status.clone().unwrap_or_default();
        let mut used = status.used.take().unwrap_or_default();
        let mut over = Vec::new();
        for (resource, amount) in &taken {
            let current = match used.get(resource).and_then(parse) {
                Some(current) => current,
                None => self.count(request, quota, resource).await?,
            };
            let next = current + *amount;
            if let Some(limit) = hard.get(resource).and_then(parse)
                && next > limit
            {
                over.push((resource.as_str(), *amount, current, limit));
            }
            used.insert(resource.clone(), Quantity(next.to_string()));
        }
        if !over.is_empty() {
            return Err(forbidden(request, exceeded(name, &over)));
        }
        let status = ResourceQuotaStatus { hard: status.hard.or(Some(hard)), used: Some(used) };
        Ok(Some(ResourceQuota { status: Some(status), ..quota.clone() }))
    }

    /// What is used of a resource that the controller has not counted yet.
    async fn count(
        &self,
        request: &AdmissionRequest,
        quota: &ResourceQuota,
        resource: &str,
    ) -> Result<Amount, Status> {
        let mut sum = Amount::new(0, Format::DecimalSi);
        for stored in self.context.lookup.list(&request.def.storage, &request.namespace).await? {
            let object = stored.object(request.def.strategy.as_ref()).map_err(Status::internal)?;
            if scopes::matches(quota, object.as_ref())
                && !usage::finished(object.as_ref())
                && let Some(amount) = usage::of(&request.def, object.as_ref()).get(resource)
            {
                sum += *amount;
            }
        }
        Ok(sum)
    }
}

#[async_trait]
impl Admission for ResourceQuotas {
    fn name(&self) -> &'static str {
        "ResourceQuota"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    async fn validate(&self, request: &AdmissionRequest) -> Result<(), Status> {
        let counted = request.subresource.is_empty()
            || (request.subresource == "resize" && request.def.plural == "pods");
        if !counted
            || request.namespace.is_empty()
            || request.def.plural == "resourcequotas" && request.operation == Operation::Update
        {
            return Ok(());
        }
        let Some(object) = request.object.as_deref() else { return Ok(()) };
        for quota in list::<ResourceQuota>(&self.context, &request.namespace).await? {
            if scopes::matches(&quota, object) {
                self.charge(request, object, quota).await?;
            }
        }
        Ok(())
    }
}

type Hard = BTreeMap<String, Quantity>;

/// What the write takes beyond what the old object had, of the resources that the quota limits.
fn taken(
    request: &AdmissionRequest,
    object: &dyn Object,
    quota: &ResourceQuota,
    hard: &Hard,
) -> Result<Usage, Status> {
    if request.operation == Operation::Create {
        let missing = usage::unspecified(object, hard);
        if !missing.is_empty() {
            let name = quota.metadata.name.as_deref().unwrap_or_default();
            return Err(forbidden(request, format!("failed quota: {name}: must specify {missing}")));
        }
    }
    let mut taken = usage::of(&request.def, object);
    if let Some(old) = request.old.as_deref() {
        for (resource, amount) in usage::of(&request.def, old) {
            if let Some(now) = taken.get_mut(&resource) {
                *now -= amount;
            }
        }
    }
    taken.retain(|resource, amount| hard.contains_key(resource) && amount.sign() > 0);
    Ok(taken)
}

fn exceeded(name: &str, over: &[(&str, Amount, Amount, Amount)]) -> String {
    let show = |which: fn(&(&str, Amount, Amount, Amount)) -> Amount| {
        over.iter().map(|row| format!("{}={}", row.0, which(row))).collect::<Vec<_>>().join(",")
    };
    format!(
        "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
        show(|row| row.1),
        show(|row| row.2),
        show(|row| row.3)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_name_what_was_asked_for_and_what_is_left() {
        let amount = |text: &str| Amount::parse(text).unwrap();
        let over = [
            ("cpu", amount("1"), amount("500m"), amount("1")),
            ("memory", amount("1Gi"), amount("0"), amount("512Mi")),
        ];
        assert_eq!(
            exceeded("q", &over),
            "exceeded quota: q, requested: cpu=1,memory=1Gi, used: cpu=500m,memory=0, limited: cpu=1,memory=512Mi"
        );
    }
}
