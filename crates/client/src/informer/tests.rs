use super::*;
use crate::testing::FakeApi;
use component::clock::FakeClock;
use k8s_openapi::api::core::v1::ConfigMap;
use machinery::Status;
use std::time::{Duration, SystemTime};

fn map(name: &str, value: &str) -> ConfigMap {
    let mut map = ConfigMap::default();
    map.metadata.name = Some(name.to_owned());
    map.metadata.namespace = Some("default".to_owned());
    map.data = Some([("value".to_owned(), value.to_owned())].into());
    map
}

struct World {
    clock: Arc<FakeClock>,
    api: FakeApi,
    client: Client,
    tasks: Tasks,
}

impl World {
    fn new() -> Self {
        let clock = FakeClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000));
        let api = FakeApi::new(clock.clone());
        let client = api.client();
        Self { clock, api, client, tasks: Tasks::new() }
    }

    fn informer(&self) -> Informer<ConfigMap> {
        Informer::start(&self.client, &Selection::default(), self.clock.clone(), &self.tasks)
    }

    /// Moves time on as soon as somebody sleeps.
    async fn pass(&self, by: Duration) {
        soon(async {
            while self.clock.sleepers() == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        self.clock.advance(by);
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("did not happen in time")
}

async fn next(events: &mut mpsc::UnboundedReceiver<Event<ConfigMap>>) -> String {
    let event = soon(events.recv()).await.expect("the informer ended");
    let word = match &event {
        Event::Added(_) => "added",
        Event::Updated { .. } => "updated",
        Event::Deleted(_) => "deleted",
    };
    format!("{word} {}", event.object().metadata.name.as_deref().unwrap_or(""))
}

#[tokio::test]
async fn follows_adds_updates_and_deletes_over_one_watch() {
    let world = World::new();
    let maps = world.client.namespaced::<ConfigMap>("default");
    maps.create(&map("a", "1")).await.unwrap();
    let informer = world.informer();
    informer.add_index("by-value", |map| map.data.iter().flatten().map(|(_, v)| v.clone()).collect());
    soon(informer.synced()).await;
    let mut events = informer.subscribe();
    assert_eq!(next(&mut events).await, "added a");
    maps.create(&map("b", "1")).await.unwrap();
    assert_eq!(next(&mut events).await, "added b");
    assert_eq!(informer.store().by_index("by-value", "1").len(), 2);
    maps.update(&map("a", "2")).await.unwrap();
    assert_eq!(next(&mut events).await, "updated a");
    assert_eq!(informer.store().by_index("by-value", "1").len(), 1);
    maps.delete("b").await.unwrap();
    assert_eq!(next(&mut events).await, "deleted b");
    assert_eq!(informer.store().list_in("default").len(), 1);
    assert!(informer.store().list_in("defaul").is_empty());
    assert_eq!((world.api.count("watch", "configmaps"), world.api.count("list", "configmaps")), (1, 0));
}

#[tokio::test]
async fn falls_back_to_a_list_where_initial_events_are_unknown() {
    let world = World::new();
    world.api.refuse_initial_events();
    let informer = world.informer();
    soon(informer.synced()).await;
    let mut events = informer.subscribe();
    world.client.namespaced::<ConfigMap>("default").create(&map("a", "1")).await.unwrap();
    assert_eq!(next(&mut events).await, "added a");
    assert_eq!(world.api.count("list", "configmaps"), 1);
}

#[tokio::test]
async fn resumes_a_broken_watch_without_listing_again() {
    let world = World::new();
    let maps = world.client.namespaced::<ConfigMap>("default");
    let informer = world.informer();
    soon(informer.synced()).await;
    let mut events = informer.subscribe();
    maps.create(&map("a", "1")).await.unwrap();
    assert_eq!(next(&mut events).await, "added a");
    world.api.break_watches();
    maps.create(&map("b", "1")).await.unwrap();
    assert_eq!(next(&mut events).await, "added b");
    assert_eq!((world.api.count("watch", "configmaps"), world.api.count("list", "configmaps")), (2, 0));
}

#[tokio::test]
async fn starts_anew_when_the_revision_has_expired() {
    let world = World::new();
    let maps = world.client.namespaced::<ConfigMap>("default");
    maps.create(&map("a", "1")).await.unwrap();
    maps.create(&map("b", "1")).await.unwrap();
    let informer = world.informer();
    soon(informer.synced()).await;
    let mut events = informer.subscribe();
    assert_eq!(next(&mut events).await, "added a");
    assert_eq!(next(&mut events).await, "added b");
    // The next watch fails for a while; meanwhile history is lost, and with it a deletion.
    world.api.fail("watch", "configmaps", Status::unavailable("down"), 1);
    world.api.break_watches();
    world.pass(Duration::from_secs(60)).await;
    soon(async {
        while world.api.count("watch", "configmaps") < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    maps.delete("a").await.unwrap();
    maps.update(&map("b", "2")).await.unwrap();
    maps.create(&map("c", "1")).await.unwrap();
    world.api.compact();
    world.pass(Duration::from_secs(60)).await;
    world.pass(Duration::from_secs(60)).await;
    let mut seen = [next(&mut events).await, next(&mut events).await, next(&mut events).await];
    seen.sort();
    assert_eq!(seen, ["added c", "deleted a", "updated b"]);
}

#[tokio::test]
async fn the_factory_shares_informers() {
    let world = World::new();
    let factory = InformerFactory::new(world.client.clone(), world.clock.clone(), world.tasks.clone());
    let (one, two) = (factory.informer::<ConfigMap>(), factory.informer::<ConfigMap>());
    let other = factory.informer_of::<ConfigMap>(&Selection::namespace("default"));
    soon(async { futures::join!(one.synced(), two.synced(), other.synced()) }).await;
    assert_eq!(world.api.count("watch", "configmaps"), 2);
}
