//! From FlowSchema and PriorityLevelConfiguration objects to the table that requests meet; the default objects kept;
//! conditions written; seats lent every ten seconds.
//!
//! Deliberately absent: anything that a request waits for.

use super::FlowControl;
use super::bootstrap::{self, Default as Wanted, Step};
use super::level::{Level, Mode, Shape};
use super::limits::{self, Bounds, Claim, Wish};
use super::rules::{Distinguish, Rules};
use super::schema::{Schema, Table};
use super::stats::Stats;
use crate::authz::feed::{Sink, feed};
use crate::contract::Context;
use api::common::text;
use api::k8s_openapi::api::flowcontrol::v1::{
    FlowSchema, FlowSchemaCondition, PriorityLevelConfiguration, PriorityLevelConfigurationSpec,
};
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use api::k8s_openapi::jiff::Timestamp;
use api::transport::{DeleteOptions, Target, WriteOptions};
use api::{Kind, Object, StoredObject};
use futures::{StreamExt, TryStreamExt, stream};
use http::HeaderValue;
use machinery::{GroupVersionResource, Status};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How often limits follow demand (upstream's).
const PERIOD: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_secs(1);
const PARALLEL: usize = 32;
/// Part of a level's nominal seats that one request may take.
const WIDEST: f64 = 0.15;

/// A level in use.
pub(super) struct Running {
    pub(super) level: Arc<Level>,
    pub(super) mode: Mode,
    pub(super) bounds: Bounds,
    smooth: f64,
    pub(super) current: u32,
}

/// The objects as they are known, and the levels made of them.
#[derive(Default)]
pub(super) struct Objects {
    schemas: BTreeMap<String, Arc<FlowSchema>>,
    levels: BTreeMap<String, Arc<PriorityLevelConfiguration>>,
    pub(super) running: BTreeMap<String, Running>,
    pub(super) fair_fraction: f64,
}

/// Reads and keeps the objects; returns when the defaults exist.
pub(super) async fn start(flow: &Arc<FlowControl>, context: &Context) -> Result<(), Status> {
    if !flow.settings.enabled {
        return Ok(());
    }
    let resource = |plural| GroupVersionResource::new(FlowSchema::GROUP, FlowSchema::VERSION, plural);
    feed(context, resource(PriorityLevelConfiguration::PLURAL), Arc::new(Levels(flow.clone()))).await;
    feed(context, resource(FlowSchema::PLURAL), Arc::new(Schemas(flow.clone()))).await;
    flow.ensure(context).await?;
    let (keeping, of) = (flow.clone(), context.clone());
    context.tasks.spawn_until_stopped("flow control objects", async move { keeping.keep(&of).await });
    let (lending, clock) = (flow.clone(), context.clock.clone());
    context.tasks.spawn_until_stopped("flow control seats", async move {
        loop {
            clock.sleep(PERIOD).await;
            lending.lend();
        }
    });
    Ok(())
}

struct Levels(Arc<FlowControl>);
struct Schemas(Arc<FlowControl>);

fn name(object: &StoredObject) -> String {
    object.meta().name.clone().unwrap_or_default()
}

fn read<K: Kind>(object: &StoredObject) -> Option<Arc<K>> {
    let read = object.get::<K>();
    read.inspect_err(
        |error| tracing::warn!(kind = K::KIND, %error, "failed to read an object; it is ignored"),
    )
    .ok()
}

fn read_all<K: Kind>(objects: &[Arc<StoredObject>]) -> BTreeMap<String, Arc<K>> {
    objects.iter().filter_map(|object| Some((name(object), read::<K>(object)?))).collect()
}

macro_rules! sink {
    ($sink:ty, $field:ident) => {
        impl Sink for $sink {
            fn replace(&self, objects: &[Arc<StoredObject>]) {
                self.0.objects.lock().$field = read_all(objects);
                self.0.rebuild();
            }
            fn set(&self, object: &StoredObject) {
                let Some(typed) = read(object) else { return };
                self.0.objects.lock().$field.insert(name(object), typed);
                self.0.rebuild();
            }
            fn remove(&self, object: &StoredObject) {
                self.0.objects.lock().$field.remove(&name(object));
                self.0.rebuild();
            }
        }
    };
}
sink!(Levels, levels);
sink!(Schemas, schemas);

fn mode(spec: &PriorityLevelConfigurationSpec) -> Mode {
    if spec.type_ == "Exempt" {
        return Mode::Exempt;
    }
    let response = spec.limited.as_ref().and_then(|limited| limited.limit_response.as_ref());
    match response.filter(|response| response.type_ == "Queue").map(|response| response.queuing.as_ref()) {
        Some(queuing) => {
            let number = |value: Option<i32>, default| match value {
                Some(value) if value > 0 => usize::try_from(value).unwrap_or(default),
                _ => default,
            };
            Mode::Queue(Shape {
                queues: number(queuing.and_then(|q| q.queues), 64),
                hand: number(queuing.and_then(|q| q.hand_size), 8),
                length: number(queuing.and_then(|q| q.queue_length_limit), 50),
            })
        }
        None => Mode::Reject,
    }
}

fn wish(spec: &PriorityLevelConfigurationSpec) -> Wish {
    if let Some(limited) = &spec.limited {
        return Wish {
            shares: limited.nominal_concurrency_shares.unwrap_or(30),
            lendable_percent: limited.lendable_percent.unwrap_or(0),
            borrowing_percent: limited.borrowing_limit_percent,
        };
    }
    let exempt = spec.exempt.as_ref();
    Wish {
        shares: exempt.and_then(|exempt| exempt.nominal_concurrency_shares).unwrap_or(0),
        lendable_percent: exempt.and_then(|exempt| exempt.lendable_percent).unwrap_or(0),
        borrowing_percent: None,
    }
}

fn uid<K: Kind>(object: &K) -> HeaderValue {
    HeaderValue::from_str(text(&object.meta().uid)).unwrap_or(HeaderValue::from_static(""))
}

impl FlowControl {
    fn total(&self) -> u32 {
        self.settings.max_requests.saturating_add(self.settings.max_mutating_requests).max(1)
    }

    /// Makes table and levels of the objects known now.
    fn rebuild(&self) {
        let mut objects = self.objects.lock();
        let empty = PriorityLevelConfigurationSpec::default();
        let specs: Vec<(&String, &PriorityLevelConfigurationSpec)> = objects
            .levels
            .iter()
            .map(|(name, level)| (name, level.spec.as_ref().unwrap_or(&empty)))
            .collect();
        let wishes: Vec<Wish> = specs.iter().map(|(_, spec)| wish(spec)).collect();
        let bounds = limits::nominal(self.total(), &wishes);
        let plans: Vec<(String, Mode, Bounds)> = specs
            .iter()
            .zip(bounds)
            .map(|((name, spec), bounds)| ((*name).clone(), mode(spec), bounds))
            .collect();
        objects.running.retain(|name, _| plans.iter().any(|(wanted, ..)| wanted == name));
        for (name, mode, bounds) in plans {
            let running = objects.running.entry(name.clone()).or_insert_with(|| Running {
                level: Arc::new(Level::new(&name, self.clock.clone(), self.tasks.clone())),
                mode: Mode::Reject,
                bounds: Bounds::default(),
                smooth: 0.0,
                current: 0,
            });
            if (running.mode, running.bounds) != (mode, bounds) || running.current == 0 {
                (running.mode, running.bounds, running.current) = (mode, bounds, bounds.nominal.max(1));
                running.level.configure(mode, running.current);
            }
        }
        let schemas = objects.schemas.values().filter_map(|schema| self.schema(&objects, schema));
        let table = Table::new(schemas.collect());
        drop(objects);
        self.table.store(Arc::new(table));
        self.changed.notify_one();
    }

    /// The schema as requests meet it; `None` while its level does not exist.
    fn schema(&self, objects: &Objects, schema: &FlowSchema) -> Option<Arc<Schema>> {
        let spec = schema.spec.as_ref()?;
        let of = &spec.priority_level_configuration.name;
        let (running, level) = (objects.running.get(of)?, objects.levels.get(of)?);
        let name = text(&schema.metadata.name).to_owned();
        let key = (name.clone(), of.clone());
        let stats = self.stats.lock().entry(key).or_insert_with(|| Arc::new(Stats::new())).clone();
        let widest = (f64::from(running.bounds.nominal) * WIDEST).ceil().max(1.0) as u32;
        Some(Arc::new(Schema {
            name,
            precedence: spec.matching_precedence.unwrap_or(1000),
            uid: uid(schema),
            level_uid: uid(level.as_ref()),
            level: running.level.clone(),
            max_seats: if running.mode == Mode::Exempt { u32::MAX } else { widest },
            rules: Rules::new(spec),
            distinguish: Distinguish::of(spec),
            stats,
        }))
    }

    /// Moves seats from the idle to the busy.
    pub(super) fn lend(&self) {
        let mut objects = self.objects.lock();
        let limited: Vec<&mut Running> =
            objects.running.values_mut().filter(|running| running.mode != Mode::Exempt).collect();
        let mut claims = Vec::with_capacity(limited.len());
        let mut limited = limited;
        for running in &mut limited {
            let demand = running.level.take_demand();
            running.smooth = limits::smooth(running.smooth, demand);
            claims.push(Claim { bounds: running.bounds, high: demand.high, smooth: running.smooth });
        }
        let (limits, fraction) = limits::share(self.total(), &claims);
        for (running, limit) in limited.into_iter().zip(limits) {
            if running.current != limit {
                running.current = limit;
                running.level.set_limit(limit);
            }
        }
        objects.fair_fraction = fraction;
    }

    async fn keep(&self, context: &Context) {
        loop {
            let result = async {
                self.ensure(context).await?;
                self.remove_old(context).await?;
                self.conditions(context).await
            };
            if let Err(error) = result.await {
                tracing::warn!(%error, "failed to keep the objects of flow control; trying again");
                context.clock.sleep(RETRY).await;
                continue;
            }
            self.changed.notified().await;
        }
    }

    /// Creates and corrects the default objects.
    async fn ensure(&self, context: &Context) -> Result<(), Status> {
        let (levels, schemas) = {
            let objects = self.objects.lock();
            (objects.levels.clone(), objects.schemas.clone())
        };
        let same = |a: &PriorityLevelConfiguration, b: &PriorityLevelConfiguration| a.spec == b.spec;
        let take =
            |a: &mut PriorityLevelConfiguration, b: &PriorityLevelConfiguration| a.spec.clone_from(&b.spec);
        apply(context, plans(bootstrap::levels(), &levels, same, take)?).await?;
        let same = |a: &FlowSchema, b: &FlowSchema| a.spec == b.spec;
        let take = |a: &mut FlowSchema, b: &FlowSchema| a.spec.clone_from(&b.spec);
        apply(context, plans(bootstrap::schemas(), &schemas, same, take)?).await
    }

    /// Deletes what an earlier version suggested and nobody took over.
    async fn remove_old(&self, context: &Context) -> Result<(), Status> {
        let mut old = Vec::new();
        {
            let objects = self.objects.lock();
            let (schemas, levels) = (names(&bootstrap::schemas()), names(&bootstrap::levels()));
            let annotated = |meta: &api::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta| {
                let value = meta.annotations.as_ref().and_then(|all| all.get(bootstrap::AUTOUPDATE));
                value.is_some_and(|value| value == "true")
            };
            let stale = |wanted: &[String], name: &String| !wanted.contains(name);
            for (name, _) in
                objects.schemas.iter().filter(|(n, o)| stale(&schemas, n) && annotated(&o.metadata))
            {
                old.push(target::<FlowSchema>().named(name));
            }
            for (name, _) in
                objects.levels.iter().filter(|(n, o)| stale(&levels, n) && annotated(&o.metadata))
            {
                old.push(target::<PriorityLevelConfiguration>().named(name));
            }
        }
        for target in old {
            match context.loopback.delete(&target, &DeleteOptions::default()).await {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Says of every schema whether its level exists.
    async fn conditions(&self, context: &Context) -> Result<(), Status> {
        let now = crate::authn::service_account::now(context);
        let now = Timestamp::from_second(now).unwrap_or(Timestamp::UNIX_EPOCH);
        let changed: Vec<FlowSchema> = {
            let objects = self.objects.lock();
            objects.schemas.values().filter_map(|schema| dangling(schema, &objects, now)).collect()
        };
        for schema in changed {
            let target = target::<FlowSchema>().named(text(&schema.metadata.name)).sub("status");
            let body = schema.to_json().into();
            match context.loopback.update(&target, body, &WriteOptions::default()).await {
                Err(error) if error.is_conflict() || error.is_not_found() => {}
                result => drop(result?),
            }
        }
        Ok(())
    }
}

/// The schema with another condition `Dangling`; `None` when it has the right one.
fn dangling(schema: &FlowSchema, objects: &Objects, now: Timestamp) -> Option<FlowSchema> {
    let level = &schema.spec.as_ref()?.priority_level_configuration.name;
    let found = objects.levels.contains_key(level);
    let (status, reason) = if found { ("False", "Found") } else { ("True", "NotFound") };
    let message = format!(
        "This FlowSchema references the PriorityLevelConfiguration object named {level:?} {}",
        if found { "and it exists" } else { "but there is no such object" }
    );
    let mut changed = schema.clone();
    let conditions = changed.status.get_or_insert_default().conditions.get_or_insert_default();
    let known = conditions.iter().position(|condition| text(&condition.type_) == "Dangling");
    let mut since = Some(Time(now));
    if let Some(known) = known.map(|at| &conditions[at]) {
        if (text(&known.status), text(&known.reason), text(&known.message)) == (status, reason, &message) {
            return None;
        }
        if text(&known.status) == status {
            since.clone_from(&known.last_transition_time);
        }
    }
    let condition = FlowSchemaCondition {
        type_: Some("Dangling".to_owned()),
        status: Some(status.to_owned()),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_transition_time: since,
    };
    match known {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
    Some(changed)
}

fn names(wanted: &[Wanted]) -> Vec<String> {
    let name =
        |wanted: &Wanted| wanted.body.pointer("/metadata/name").and_then(|n| n.as_str()).map(str::to_owned);
    wanted.iter().filter_map(name).collect()
}

fn plans<K: Kind + Clone>(
    wanted: Vec<Wanted>,
    known: &BTreeMap<String, Arc<K>>,
    same: fn(&K, &K) -> bool,
    take: fn(&mut K, &K),
) -> Result<Vec<Step<K>>, Status> {
    let mut steps = Vec::new();
    for wanted in wanted {
        let object = K::from_json(wanted.body.to_string().as_bytes()).map_err(Status::internal)?;
        let known = known.get(text(&object.meta().name)).map(AsRef::as_ref);
        steps.extend(bootstrap::plan(object, wanted.mandatory, known, same, take));
    }
    Ok(steps)
}

fn target<K: Kind>() -> Target {
    Target::all(GroupVersionResource::new(K::GROUP, K::VERSION, K::PLURAL))
}

async fn apply<K: Kind>(context: &Context, steps: Vec<Step<K>>) -> Result<(), Status> {
    let writes = steps.into_iter().map(|step| async move {
        let options = WriteOptions::default();
        let result = match &step {
            Step::Create(object) => {
                context.loopback.create(&target::<K>(), object.to_json().into(), &options).await
            }
            Step::Update(object) => {
                let target = target::<K>().named(text(&object.meta().name));
                context.loopback.update(&target, object.to_json().into(), &options).await
            }
        };
        match result {
            // Another server of the cluster was faster, or the cache is behind: the next look decides.
            Err(e) if e.is_already_exists() || e.is_conflict() || e.is_not_found() => Ok(()),
            result => result.map(drop),
        }
    });
    stream::iter(writes).buffer_unordered(PARALLEL).try_collect::<()>().await
}
