//! The embedded engine as programs run it: its own threads. Not to be replayed exactly, but what
//! happens between threads happens here only.

use crate::model::workload::{Plan, World, tasks};
use crate::model::{Recorder, check};
use futures::FutureExt;
use futures::future::{LocalBoxFuture, join_all};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::Store;
use store::embedded::disk::memory::MemDisk;
use store::embedded::{Embedded, Options};

/// A store that is there, in the time that everyone has.
pub(crate) struct Real {
    store: RefCell<Option<Arc<dyn Store>>>,
    start: Instant,
}

impl Real {
    pub(crate) fn new(store: Arc<dyn Store>) -> Rc<Self> {
        Rc::new(Self { store: RefCell::new(Some(store)), start: Instant::now() })
    }
}

impl World for Real {
    fn store(&self) -> Option<Arc<dyn Store>> {
        self.store.borrow().clone()
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn pause(&self, time: Duration) -> LocalBoxFuture<'static, ()> {
        tokio::time::sleep(time).boxed_local()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threads_keep_the_promises() {
    for seed in 0..4 {
        let disk = Arc::new(MemDisk::new(seed));
        let options =
            Options { segment_bytes: 8000, checkpoint_bytes: 20_000, watch_buffer: 8, ..Options::default() };
        let recorder = Rc::new(Recorder::new(|history| history.exact_ttl = true));
        let start = Instant::now();
        let mut from = 1;
        for round in 0..3 {
            let store = Arc::new(Embedded::open_disk(disk.clone(), options.clone()).unwrap());
            let world = Rc::new(Real { store: RefCell::new(Some(store.clone())), start });
            let plan = Plan {
                seed: seed * 10 + round,
                clients: 12,
                operations: 60,
                watchers: 8,
                think: Duration::from_millis(1),
                abandon: 30,
                from,
                ..Plan::default()
            };
            let work = join_all(tasks(world.clone(), recorder.clone(), plan));
            tokio::time::timeout(Duration::from_secs(60), work).await.expect("comes to an end");
            from = store.revision().await.unwrap();
            world.store.borrow_mut().take();
            let Some(store) = Arc::into_inner(store) else { panic!("someone still has the store") };
            tokio::task::spawn_blocking(move || drop(store)).await.unwrap();
        }
        match check(&recorder.history()) {
            Ok(summary) => println!("seed {seed}: {summary:?}"),
            Err(violations) => panic!("seed {seed}: {}", violations[0]),
        }
    }
}
