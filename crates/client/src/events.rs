//! [`EventRecorder`]: tells users what happened, as `Event` objects. Repeated events are counted on one object, as
//! upstream's correlator does, so `kubectl describe` shows `(x3 over 2m)`; floods are cut off per object.
//!
//! Recording never waits: a full queue drops events, because they are a courtesy and the caller's work is not.

use crate::client::Client;
use crate::time::{now, seconds};
use api::Object;
use api::transport::Patch;
use component::{SharedClock, Tasks};
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::jiff::Timestamp;
use machinery::Status;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How many events may wait to be written.
const QUEUE: usize = 1000;
/// How many distinct events are remembered for counting.
const REMEMBERED: usize = 4096;
/// Events of one kind about one object that differ only in their message are combined beyond this many…
const SIMILAR: usize = 10;
/// …within this time.
const SIMILAR_WINDOW: Duration = Duration::from_secs(600);
/// Per object and source: this many at once…
const BURST: f64 = 25.0;
/// …then one per this time.
const REFILL: Duration = Duration::from_secs(300);

/// Whether something went as planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// It did.
    Normal,
    /// It did not.
    Warning,
}

impl EventType {
    fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// Records events of one component. Clones share the queue.
#[derive(Clone)]
pub struct EventRecorder {
    source: Arc<EventSource>,
    queue: mpsc::Sender<Note>,
    clock: SharedClock,
}

impl fmt::Debug for EventRecorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventRecorder({})", self.source.component.as_deref().unwrap_or(""))
    }
}

struct Note {
    about: ObjectReference,
    source: Arc<EventSource>,
    kind: EventType,
    reason: String,
    message: String,
    at: Timestamp,
    instant: Instant,
}

/// The reference by which events name an object.
pub fn reference(object: &dyn Object) -> ObjectReference {
    let (gvk, meta) = (object.gvk(), object.meta());
    ObjectReference {
        api_version: Some(gvk.api_version()),
        kind: Some(gvk.kind.into_owned()),
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

impl EventRecorder {
    /// A recorder for `component` (such as `deployment-controller`) on `host` (empty but for node components). Its writer
    /// runs until `tasks` stop.
    pub fn new(client: &Client, component: &str, host: &str, clock: SharedClock, tasks: &Tasks) -> Self {
        let (queue, notes) = mpsc::channel(QUEUE);
        let writer = Writer {
            client: client.clone(),
            seen: HashMap::new(),
            similar: HashMap::new(),
            spam: HashMap::new(),
            newest: 0,
        };
        tasks.spawn_until_stopped("events", writer.run(notes));
        let host = (!host.is_empty()).then(|| host.to_owned());
        let source = Arc::new(EventSource { component: Some(component.to_owned()), host });
        Self { source, queue, clock }
    }

    /// The same queue and writer under another component's name.
    #[must_use]
    pub fn for_component(&self, component: &str) -> Self {
        let source = EventSource { component: Some(component.to_owned()), host: self.source.host.clone() };
        Self { source: Arc::new(source), ..self.clone() }
    }

    /// Records that something happened to `object`.
    pub fn event(&self, object: &dyn Object, kind: EventType, reason: &str, message: impl Into<String>) {
        self.event_about(reference(object), kind, reason, message);
    }

    /// Records that something happened to what `about` names (for a container: with its field path).
    pub fn event_about(
        &self,
        about: ObjectReference,
        kind: EventType,
        reason: &str,
        message: impl Into<String>,
    ) {
        let note = Note {
            about,
            source: self.source.clone(),
            kind,
            reason: reason.to_owned(),
            message: truncated(message.into()),
            at: now(&*self.clock),
            instant: self.clock.instant(),
        };
        if self.queue.try_send(note).is_err() {
            tracing::debug!(reason, "dropped an event: too many are waiting to be written");
        }
    }
}

/// The API accepts messages of at most 1 KiB.
fn truncated(mut message: String) -> String {
    if message.len() > 1024 {
        let end = (0..=1021).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
        message.truncate(end);
        message.push_str("...");
    }
    message
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct SimilarKey {
    component: Option<String>,
    host: Option<String>,
    kind: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
    uid: Option<String>,
    field_path: Option<String>,
    event_type: &'static str,
    reason: String,
}

struct Seen {
    name: String,
    count: i32,
    last: Instant,
}

struct Bucket {
    tokens: f64,
    last: Instant,
}

struct Writer {
    client: Client,
    seen: HashMap<(SimilarKey, String), Seen>,
    similar: HashMap<SimilarKey, (HashSet<String>, Instant)>,
    spam: HashMap<SimilarKey, Bucket>,
    /// Time in the newest name: two events of one instant get different names.
    newest: i128,
}

impl Writer {
    async fn run(mut self, mut notes: mpsc::Receiver<Note>) {
        while let Some(note) = notes.recv().await {
            if let Err(status) = self.write(note).await {
                tracing::debug!("failed to write an event: {status}; it is dropped");
            }
        }
    }

    async fn write(&mut self, mut note: Note) -> Result<(), Status> {
        let key = similar_key(&note);
        if self.is_flood(&key, note.instant) {
            return Ok(());
        }
        let combined = self.combine(&key, &mut note);
        self.shrink(note.instant);
        // Combined events count on one object, whatever their messages say.
        let id = (key, if combined { String::new() } else { note.message.clone() });
        let namespace = note.about.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let events = self.client.namespaced::<Event>(&namespace);
        if let Some(seen) = self.seen.get_mut(&id) {
            seen.count = seen.count.saturating_add(1);
            seen.last = note.instant;
            let patch = serde_json::json!({
                "count": seen.count, "lastTimestamp": seconds(note.at).0.to_string(), "message": note.message,
            });
            match events.patch(&seen.name, Patch::Merge(patch.to_string().into())).await {
                // Events expire; a new one starts to count again.
                Err(status) if status.is_not_found() => {}
                outcome => return outcome.map(drop),
            }
        }
        self.newest = note.at.as_nanosecond().max(self.newest + 1);
        let event = new_event(&note, &namespace, self.newest);
        let name = event.metadata.name.clone().unwrap_or_default();
        events.create(&event).await?;
        self.seen.insert(id, Seen { name, count: 1, last: note.instant });
        Ok(())
    }

    /// Takes a token of the object's bucket; upstream limits each source and object.
    fn is_flood(&mut self, key: &SimilarKey, now: Instant) -> bool {
        let key = SimilarKey { event_type: "", reason: String::new(), ..key.clone() };
        let bucket = self.spam.entry(key).or_insert(Bucket { tokens: BURST, last: now });
        let refill = now.duration_since(bucket.last).as_secs_f64() / REFILL.as_secs_f64();
        bucket.tokens = (bucket.tokens + refill).min(BURST);
        bucket.last = now;
        if bucket.tokens < 1.0 {
            return true;
        }
        bucket.tokens -= 1.0;
        false
    }

    /// Combines events that differ only in their message once there are too many of them.
    fn combine(&mut self, key: &SimilarKey, note: &mut Note) -> bool {
        let entry = self.similar.entry(key.clone()).or_insert_with(|| (HashSet::new(), note.instant));
        let (messages, last) = entry;
        if note.instant.duration_since(*last) > SIMILAR_WINDOW {
            messages.clear();
        }
        *last = note.instant;
        messages.insert(note.message.clone());
        let combined = messages.len() >= SIMILAR;
        if combined {
            note.message = truncated(format!("(combined from similar events): {}", note.message));
        }
        combined
    }

    fn shrink(&mut self, now: Instant) {
        if self.seen.len() > REMEMBERED {
            self.seen.retain(|_, seen| now.duration_since(seen.last) < SIMILAR_WINDOW);
            if self.seen.len() > REMEMBERED {
                self.seen.clear();
            }
        }
        if self.similar.len() > REMEMBERED {
            self.similar.retain(|_, (_, last)| now.duration_since(*last) < SIMILAR_WINDOW);
        }
        if self.spam.len() > REMEMBERED {
            self.spam.retain(|_, bucket| now.duration_since(bucket.last) < REFILL * 4);
        }
    }
}

fn similar_key(note: &Note) -> SimilarKey {
    let about = &note.about;
    SimilarKey {
        component: note.source.component.clone(),
        host: note.source.host.clone(),
        kind: about.kind.clone(),
        namespace: about.namespace.clone(),
        name: about.name.clone(),
        uid: about.uid.clone(),
        field_path: about.field_path.clone(),
        event_type: note.kind.as_str(),
        reason: note.reason.clone(),
    }
}

fn new_event(note: &Note, namespace: &str, stamp: i128) -> Event {
    let mut event = Event {
        involved_object: note.about.clone(),
        reason: Some(note.reason.clone()),
        message: Some(note.message.clone()),
        source: Some(EventSource::clone(&note.source)),
        first_timestamp: Some(seconds(note.at)),
        last_timestamp: Some(seconds(note.at)),
        count: Some(1),
        type_: Some(note.kind.as_str().to_owned()),
        reporting_component: note.source.component.clone(),
        reporting_instance: Some(note.source.host.clone().unwrap_or_default()),
        ..Event::default()
    };
    // Upstream's name: the object's, a dot and the time in hexadecimal nanoseconds.
    let name = format!("{}.{:x}", note.about.name.as_deref().unwrap_or(""), stamp);
    event.metadata.name = Some(name);
    event.metadata.namespace = Some(namespace.to_owned());
    event
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeApi;
    use component::clock::FakeClock;
    use k8s_openapi::api::core::v1::Pod;
    use std::time::SystemTime;

    fn world() -> (Arc<FakeClock>, FakeApi, EventRecorder, Pod) {
        let clock = FakeClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000));
        let api = FakeApi::new(clock.clone());
        let recorder = EventRecorder::new(&api.client(), "tester", "", clock.clone(), &Tasks::new());
        let mut pod = Pod::default();
        pod.metadata.name = Some("p".to_owned());
        pod.metadata.namespace = Some("default".to_owned());
        pod.metadata.uid = Some("u".to_owned());
        (clock, api, recorder, pod)
    }

    #[tokio::test]
    async fn repeated_events_are_counted() {
        let (clock, api, recorder, pod) = world();
        for _ in 0..3 {
            recorder.event(&pod, EventType::Warning, "BackOff", "restarting");
            clock.advance(Duration::from_secs(60));
        }
        recorder.event(&pod, EventType::Normal, "Pulled", "image");
        api.until("two events", |api| api.objects::<Event>().len() == 2).await;
        let events = api.objects::<Event>();
        let event = events.iter().find(|event| event.reason.as_deref() == Some("BackOff")).unwrap();
        assert_eq!(event.count, Some(3));
        let span = |time: &Option<_>| {
            time.as_ref().map(|t: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Time| t.0.as_second())
        };
        assert_eq!(span(&event.last_timestamp).unwrap() - span(&event.first_timestamp).unwrap(), 120);
        assert_eq!(event.source.as_ref().unwrap().component.as_deref(), Some("tester"));
    }

    #[tokio::test]
    async fn floods_are_combined_and_cut_off() {
        let (clock, api, recorder, pod) = world();
        for n in 0..100 {
            clock.advance(Duration::from_millis(1));
            recorder.event(&pod, EventType::Normal, "Flood", format!("message {n}"));
        }
        let mut other = pod.clone();
        other.metadata.name = Some("q".to_owned());
        recorder.event(&other, EventType::Normal, "Last", "after the flood");
        let last = |api: &FakeApi| api.objects::<Event>().iter().any(|e| e.reason.as_deref() == Some("Last"));
        api.until("the flood is over", last).await;
        let events = api.objects::<Event>();
        let flood: Vec<_> = events.iter().filter(|e| e.reason.as_deref() == Some("Flood")).collect();
        // Nine of their own, then one that counts the rest until the flood is cut off.
        assert_eq!(flood.len(), 10);
        let combined = |e: &&&Arc<Event>| {
            e.message.as_deref().unwrap_or("").starts_with("(combined from similar events): ")
        };
        assert_eq!(flood.iter().find(combined).and_then(|event| event.count), Some(16));
    }
}
