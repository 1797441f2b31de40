//! Counts again what quotas limit when objects go away: admission only ever adds.

use crate::context::Context;
use api::common::amounts::parse;
use api::quota::{scopes, usage};
use api::transport::Target;
use client::informer::reflector::{Change, Reflector};
use client::{Informer, ListOptions, ObjectKey, Requeue, WorkQueue, run_workers};
use k8s_openapi::api::core::v1::{ResourceQuota, ResourceQuotaStatus};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use machinery::quantity::{Format, Quantity as Amount};
use machinery::{GroupVersionResource, Status};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

const WORKERS: usize = 5;

/// Runs the controller.
pub(crate) async fn run(context: Context) {
    let quotas = context.informers.informer::<ResourceQuota>();
    let queue = context.queue::<ObjectKey>();
    let changed = queue.clone();
    quotas.on_event(move |event| {
        // Admission's own charges must not be counted again before the object they are for exists.
        if event.old().is_none_or(|old| old.spec != event.object().spec) {
            changed.add(ObjectKey::of(&event.object().metadata));
        }
    });
    quotas.synced().await;
    context.resources.synced().await;
    let worker = Arc::new(Worker {
        context: context.clone(),
        quotas,
        queue: queue.clone(),
        followed: Mutex::default(),
    });
    run_workers("resourcequota-controller", WORKERS, &queue, &context.tasks, move |key| {
        let worker = worker.clone();
        async move { worker.reconcile(&key).await.map(|()| Requeue::No) }
    });
    context.tasks.stopping().cancelled().await;
}

/// The group and plural of the resource whose objects use up a limited amount.
fn counted_resource(name: &str) -> Option<(String, String)> {
    if let Some(counted) = name.strip_prefix("count/") {
        let (plural, group) = counted.split_once('.').unwrap_or((counted, ""));
        return Some((group.to_owned(), plural.to_owned()));
    }
    let plural = match name {
        "services.loadbalancers" | "services.nodeports" => "services",
        "requests.storage" => "persistentvolumeclaims",
        _ if name.contains(".storageclass.storage.k8s.io/") => "persistentvolumeclaims",
        "configmaps"
        | "persistentvolumeclaims"
        | "pods"
        | "replicationcontrollers"
        | "resourcequotas"
        | "secrets"
        | "services" => name,
        "cpu" | "memory" | "ephemeral-storage" => "pods",
        _ if ["requests.", "limits.", "hugepages-"].iter().any(|prefix| name.starts_with(prefix)) => "pods",
        _ => return None,
    };
    Some((String::new(), plural.to_owned()))
}

struct Worker {
    context: Context,
    quotas: Informer<ResourceQuota>,
    queue: WorkQueue<ObjectKey>,
    /// Resources whose deletions are watched, because a quota limits them.
    followed: Mutex<HashSet<GroupVersionResource>>,
}

impl Worker {
    async fn reconcile(&self, key: &ObjectKey) -> Result<(), Status> {
        let Some(quota) = self.quotas.store().get(key) else { return Ok(()) };
        let hard = quota.spec.as_ref().and_then(|spec| spec.hard.clone()).unwrap_or_default();
        let resources: BTreeSet<_> = hard.keys().filter_map(|name| counted_resource(name)).collect();
        // Watched before counted, so that nothing goes away unseen in between.
        let mut sum: BTreeMap<String, Amount> = BTreeMap::new();
        for (group, plural) in resources {
            if let Some(resource) = self.resource(&group, &plural) {
                self.follow(resource.clone());
                self.count(&quota, resource, &mut sum).await?;
            }
        }
        let used = hard.keys().filter(|name| counted_resource(name).is_some()).map(|name| {
            let amount = sum.get(name).copied().unwrap_or_else(|| Amount::new(0, Format::DecimalSi));
            (name.clone(), Quantity(amount.to_string()))
        });
        let status = ResourceQuotaStatus { used: Some(used.collect()), hard: Some(hard) };
        if is_same(&quota.status.clone().unwrap_or_default(), &status) {
            return Ok(());
        }
        let mut changed = ResourceQuota::clone(&quota);
        changed.status = Some(status);
        self.context.client.all::<ResourceQuota>().update_status(&changed).await.map(drop)
    }

    fn resource(&self, group: &str, plural: &str) -> Option<GroupVersionResource> {
        let all = self.context.resources.all();
        all.into_iter().map(|row| row.gvr).find(|gvr| gvr.group == group && gvr.resource == plural)
    }

    async fn count(
        &self,
        quota: &ResourceQuota,
        resource: GroupVersionResource,
        sum: &mut BTreeMap<String, Amount>,
    ) -> Result<(), Status> {
        let namespace = quota.metadata.namespace.as_deref().unwrap_or("");
        let def = api::table::builtin().iter().find(|def| def.gvr() == resource);
        let name = match &*resource.group {
            "" => format!("count/{}", resource.resource),
            group => format!("count/{}.{group}", resource.resource),
        };
        let api = self.context.client.dynamic(resource).in_namespace(namespace);
        for stored in api.list(&ListOptions::default()).await?.items {
            let taken = match def {
                // Of custom resources only the number is known.
                None => BTreeMap::from([(name.clone(), Amount::new(1, Format::DecimalSi))]),
                Some(def) => {
                    let Ok(object) = stored.object(def.strategy.as_ref()) else { continue };
                    if !scopes::matches(quota, object.as_ref()) || usage::finished(object.as_ref()) {
                        continue;
                    }
                    usage::of(def, object.as_ref())
                }
            };
            for (name, amount) in taken {
                sum.entry(name).and_modify(|sum| *sum += amount).or_insert(amount);
            }
        }
        Ok(())
    }

    /// Counts again whenever an object of the resource is deleted or changed in a namespace with quotas.
    fn follow(&self, resource: GroupVersionResource) {
        if !self.followed.lock().insert(resource.clone()) {
            return;
        }
        let transport = self.context.client.transport().clone();
        let reflector = Reflector::new(
            transport,
            Target::all(resource),
            ListOptions::default(),
            self.context.clock.clone(),
        );
        let (quotas, queue) = (self.quotas.clone(), self.queue.clone());
        self.context.tasks.spawn_until_stopped("resourcequota-watch", async move {
            reflector
                .run(move |change| {
                    let namespaces: BTreeSet<String> = match &change {
                        Change::Reset(objects, _) => {
                            objects.iter().filter_map(|object| object.meta().namespace.clone()).collect()
                        }
                        Change::Upsert(object) | Change::Delete(object) => {
                            object.meta().namespace.clone().into_iter().collect()
                        }
                        Change::Progress(_) | Change::Synced => return,
                    };
                    for namespace in namespaces {
                        for quota in quotas.store().list_in(&namespace) {
                            queue.add(ObjectKey::of(&quota.metadata));
                        }
                    }
                })
                .await;
        });
    }
}

/// Whether two statuses say the same, however amounts are written.
fn is_same(old: &ResourceQuotaStatus, new: &ResourceQuotaStatus) -> bool {
    let amounts = |map: &Option<BTreeMap<String, Quantity>>| -> BTreeMap<String, Option<Amount>> {
        map.iter().flatten().map(|(name, value)| (name.clone(), parse(value))).collect()
    };
    amounts(&old.used) == amounts(&new.used) && amounts(&old.hard) == amounts(&new.hard)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::{World, template};
    use api::Kind;
    use k8s_openapi::api::core::v1::{ConfigMap, Pod};

    #[tokio::test]
    async fn what_goes_away_is_given_back() {
        let world = World::new();
        let client = world.client();
        let quota = r#"{"apiVersion":"v1","kind":"ResourceQuota","metadata":{"name":"q"},"spec":{"hard":{
            "pods":"5","requests.cpu":"2","count/configmaps":"3"}}}"#;
        let quotas = client.namespaced::<ResourceQuota>("default");
        quotas.create(&ResourceQuota::from_json(quota.as_bytes()).unwrap()).await.unwrap();
        let pods = client.namespaced::<Pod>("default");
        let mut pod = crate::common::pods::from_template(&template("web"));
        pod.metadata.name = Some("p".to_owned());
        let resources = pod.spec.as_mut().unwrap().containers[0].resources.get_or_insert_default();
        resources.requests = Some([("cpu".to_owned(), Quantity("500m".to_owned()))].into());
        pods.create(&pod).await.unwrap();
        let mut map = ConfigMap::default();
        map.metadata.name = Some("m".to_owned());
        client.namespaced::<ConfigMap>("default").create(&map).await.unwrap();
        world.start(run);
        let used = || {
            let status = world.api.objects::<ResourceQuota>()[0].status.clone().unwrap_or_default();
            let used = status.used.unwrap_or_default();
            used.iter().map(|(name, amount)| format!("{name}={}", amount.0)).collect::<Vec<_>>().join(" ")
        };
        world.until("all is counted", || used() == "count/configmaps=1 pods=1 requests.cpu=500m").await;
        pods.delete("p").await.unwrap();
        world.until("the pod is given back", || used() == "count/configmaps=1 pods=0 requests.cpu=0").await;
    }
}
