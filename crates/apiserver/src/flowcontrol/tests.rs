//! Priority levels on a clock that stands still until it is moved.

use super::level::{Entry, Level, Mode, Refusal, Shape, Waiting};
use super::rules::{Distinguish, Rules};
use super::schema::Schema;
use super::stats::Stats;
use super::work::Work;
use component::Tasks;
use component::clock::FakeClock;
use http::HeaderValue;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const SHAPE: Shape = Shape { queues: 64, hand: 6, length: 50 };
const STEP: Duration = Duration::from_millis(10);

struct Bed {
    clock: Arc<FakeClock>,
    schema: Arc<Schema>,
}

fn bed(mode: Mode, limit: u32) -> Bed {
    let clock = FakeClock::new(SystemTime::UNIX_EPOCH);
    let level = Arc::new(Level::new("level", clock.clone(), Tasks::new()));
    level.configure(mode, limit);
    let schema = Arc::new(Schema {
        name: "schema".to_owned(),
        precedence: 1,
        uid: HeaderValue::from_static("s"),
        level_uid: HeaderValue::from_static("l"),
        level,
        max_seats: 10,
        rules: Rules::default(),
        distinguish: Distinguish::ByUser,
        stats: Arc::new(Stats::new()),
    });
    Bed { clock, schema }
}

impl Bed {
    fn enter(&self, flow: &str, work: Work) -> Entry {
        self.schema.level.enter(&self.schema, flow, work)
    }

    fn runs(&self, flow: &str, work: Work) -> usize {
        match self.enter(flow, work) {
            Entry::Runs(queue) => queue,
            Entry::Waits(_) => panic!("{flow} waits"),
            Entry::Refused(why) => panic!("{flow} is refused: {why:?}"),
        }
    }

    fn waits(&self, flow: &str) -> Waiting {
        match self.enter(flow, Work::ONE) {
            Entry::Waits(waiting) => waiting,
            _ => panic!("{flow} does not wait"),
        }
    }

    fn leave(&self, queue: usize, work: Work, ran: Duration) {
        self.schema.level.leave(queue, work, ran);
    }
}

fn has_turn(waiting: &mut Waiting) -> bool {
    waiting.gone.try_recv().is_ok()
}

#[test]
fn a_flood_leaves_others_their_turn() {
    let bed = bed(Mode::Queue(SHAPE), 2);
    let mut running = vec![bed.runs("flood", Work::ONE), bed.runs("flood", Work::ONE)];
    let mut flood: Vec<Waiting> = (0..100).map(|_| bed.waits("flood")).collect();
    bed.clock.advance(STEP);
    let mut quiet = bed.waits("quiet");
    let mut served = 0;
    while !has_turn(&mut quiet) {
        bed.clock.advance(STEP);
        bed.leave(running.remove(0), Work::ONE, STEP);
        let next = flood.iter_mut().position(has_turn);
        if let Some(next) = next {
            running.push(flood.swap_remove(next).queue);
        }
        served += 1;
        assert!(served <= 8, "the quiet flow waits behind {served} requests of the flood");
    }
}

#[test]
fn queues_have_an_end() {
    let bed = bed(Mode::Queue(Shape { queues: 1, hand: 1, length: 3 }), 1);
    bed.runs("a", Work::ONE);
    let waiting: Vec<Waiting> = (0..3).map(|_| bed.waits("a")).collect();
    assert_eq!(waiting.iter().map(|w| w.length).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(matches!(bed.enter("a", Work::ONE), Entry::Refused(Refusal::QueueFull)));
    drop(waiting);
    bed.waits("a");
}

#[test]
fn a_level_that_does_not_queue_refuses() {
    let bed = bed(Mode::Reject, 1);
    let queue = bed.runs("a", Work::ONE);
    assert!(matches!(bed.enter("b", Work::ONE), Entry::Refused(Refusal::ConcurrencyLimit)));
    bed.leave(queue, Work::ONE, STEP);
    bed.runs("b", Work::ONE);
    let exempt = self::bed(Mode::Exempt, 1);
    for _ in 0..100 {
        exempt.runs("a", Work::ONE);
    }
}

#[tokio::test]
async fn patience_ends() {
    let bed = bed(Mode::Queue(SHAPE), 1);
    let queue = bed.runs("a", Work::ONE);
    let mut late = bed.waits("a");
    let waiting = async {
        let turn = late.turn(Duration::from_secs(15)).await;
        (turn, late)
    };
    let clock = bed.clock.clone();
    let moving = async move {
        while clock.sleepers() == 0 {
            tokio::task::yield_now().await;
        }
        clock.advance(Duration::from_secs(15));
    };
    let ((turn, late), ()) = tokio::join!(waiting, moving);
    assert!(!turn);
    drop(late);
    bed.leave(queue, Work::ONE, STEP);
    bed.runs("a", Work::ONE);
    let state = bed.schema.level.state.lock();
    assert_eq!((state.waiting, state.seats, state.executing), (0, 1, 1));
}

#[test]
fn whoever_gives_up_at_its_turn_gives_the_seat_back() {
    let bed = bed(Mode::Queue(SHAPE), 1);
    let queue = bed.runs("a", Work::ONE);
    let gone = bed.waits("a");
    let mut next = bed.waits("b");
    bed.leave(queue, Work::ONE, STEP);
    // It was its turn, but its client is gone.
    drop(gone);
    assert!(has_turn(&mut next));
    assert_eq!(bed.schema.level.state.lock().seats, 1);
}

#[tokio::test]
async fn seats_kept_for_watchers_come_free_later() {
    let bed = bed(Mode::Queue(SHAPE), 4);
    let write = Work { seats: 1, last: 4, after: Duration::from_millis(50) };
    let queue = bed.runs("writer", write);
    let mut next = bed.waits("reader");
    bed.leave(queue, write, STEP);
    assert!(!has_turn(&mut next), "all seats are kept");
    while bed.clock.sleepers() == 0 {
        tokio::task::yield_now().await;
    }
    bed.clock.advance(Duration::from_millis(50));
    assert!(next.turn(Duration::from_secs(60)).await);
    assert_eq!(bed.schema.level.state.lock().seats, 1);
}

#[test]
fn what_is_wider_than_the_level_runs_alone() {
    let bed = bed(Mode::Queue(SHAPE), 2);
    let wide = Work { seats: 5, ..Work::ONE };
    let queue = bed.runs("a", wide);
    let mut next = bed.waits("b");
    bed.leave(queue, wide, STEP);
    assert!(has_turn(&mut next));
    assert!(matches!(bed.enter("a", wide), Entry::Waits(_)));
}

#[test]
fn demand_is_measured_over_time() {
    let bed = bed(Mode::Queue(SHAPE), 2);
    bed.schema.level.take_demand();
    let queues = [bed.runs("a", Work::ONE), bed.runs("b", Work::ONE)];
    let waiting = bed.waits("c");
    bed.clock.advance(STEP);
    drop(waiting);
    queues.into_iter().for_each(|queue| bed.leave(queue, Work::ONE, STEP));
    bed.clock.advance(STEP);
    let demand = bed.schema.level.take_demand();
    assert_eq!(demand.high, 3);
    assert!((demand.average - 1.5).abs() < 1e-6 && (demand.deviation - 1.5).abs() < 1e-6, "{demand:?}");
}

#[test]
fn more_seats_let_more_go_on() {
    let bed = bed(Mode::Queue(SHAPE), 1);
    bed.runs("a", Work::ONE);
    let mut waiting = [bed.waits("a"), bed.waits("b"), bed.waits("c")];
    bed.schema.level.set_limit(3);
    assert_eq!(waiting.iter_mut().filter_map(|w| has_turn(w).then_some(())).count(), 2);
    // Queues that are still in use outlive a change of their number.
    bed.schema.level.configure(Mode::Queue(Shape { queues: 1, hand: 1, length: 1 }), 4);
    assert_eq!(waiting.iter_mut().filter_map(|w| has_turn(w).then_some(())).count(), 1);
}
