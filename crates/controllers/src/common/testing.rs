//! A world for tests of controllers: a fake API, a fake clock, and one controller running.

use crate::{Config, Context};
use client::Client;
use client::testing::FakeApi;
use component::Tasks;
use component::clock::FakeClock;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub(crate) struct World {
    pub(crate) clock: Arc<FakeClock>,
    pub(crate) api: FakeApi,
    pub(crate) config: Config,
    pub(crate) tasks: Tasks,
}

impl World {
    pub(crate) fn new() -> Self {
        let clock = FakeClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let api = FakeApi::new(clock.clone());
        Self { clock, api, config: Config::default(), tasks: Tasks::new() }
    }

    pub(crate) fn client(&self) -> Client {
        self.api.client()
    }

    pub(crate) fn context(&self) -> Context {
        Context::new(self.config.clone(), self.client(), self.clock.clone(), self.tasks.clone())
    }

    pub(crate) fn start<Fut: Future<Output = ()> + Send + 'static>(&self, run: fn(Context) -> Fut) {
        self.tasks.spawn_until_stopped("controller", run(self.context()));
    }

    /// Waits for changes of the API until `condition` holds, without time passing.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        self.api.until(what, |_| condition()).await;
    }

    /// Lets time pass in small steps until `condition` holds.
    pub(crate) async fn passing(&self, what: &str, condition: impl Fn() -> bool) {
        let ticking = async {
            loop {
                for _ in 0..50 {
                    tokio::task::yield_now().await;
                }
                self.clock.advance(Duration::from_millis(500));
            }
        };
        tokio::select! {
            () = self.api.until(what, |_| condition()) => {}
            () = ticking => {}
        }
    }
}
