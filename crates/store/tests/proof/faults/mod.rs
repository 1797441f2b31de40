//! The embedded engine with everything going wrong: killed at any moment, power lost (what was not synced is gone,
//! torn, reordered), bits turned, input/output errors, no space (and room again), syncs that fail or take long, clocks that jump; and
//! compaction, checkpoints and the chores of a keeper meanwhile.
//!
//! Each seed replays exactly: `WINDLASS_SEED=17 cargo test -p store --test proof faults`. More of them:
//! `WINDLASS_SEEDS=100000 cargo test …`.

mod disk;
mod executor;
mod keeper;
mod sim;

use crate::model::{History, Summary, check};
use sim::{Sim, Troubles};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Seeds of an ordinary run of the tests.
const SEEDS: u64 = 3000;

/// Seeds that found a defect once. 8 and 430: what was read after a kill or a failed sync was not durable. 120, 504,
/// 836: refusals spoke of writes that were not durable. 2022: a damaged last record full of zeros was taken for torn.
pub(super) const FOUND: [u64; 6] = [8, 120, 430, 504, 836, 2022];

/// The same with a keeper: a segment that was begun in vain came back after a power loss.
const FOUND_BY_KEEPER: [u64; 5] = [1113, 1279, 1578, 1782, 2104];

/// Seeds below replay as they did before there was a keeper.
pub(super) const WITHOUT_KEEPER: u64 = 1000;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// The history of a seed.
pub(crate) fn history(seed: u64) -> (History, Troubles) {
    let mut sim = Sim::new(seed);
    let history = sim.run();
    (history, sim.troubles)
}

/// Runs a seed; what is wrong with it, if anything.
fn run(seed: u64) -> Result<(Summary, Troubles), String> {
    let run = std::panic::catch_unwind(|| history(seed));
    let (history, troubles) = run.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })?;
    let summary = check(&history).map_err(|violations| {
        if number("WINDLASS_SEED").is_some() {
            println!("{history}");
        }
        let list: Vec<_> = violations.iter().take(3).map(ToString::to_string).collect();
        list.join("\n  ")
    })?;
    Ok((summary, troubles))
}

#[test]
fn whatever_goes_wrong_one_history_explains_all_answers() {
    let seeds: Vec<u64> = match number("WINDLASS_SEED") {
        Some(seed) => vec![seed],
        None => FOUND
            .into_iter()
            .chain(FOUND_BY_KEEPER)
            .chain(0..number("WINDLASS_SEEDS").unwrap_or(SEEDS))
            .collect(),
    };
    let next = AtomicU64::new(0);
    let total = Mutex::new((Summary::default(), Troubles::default()));
    let failures = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Relaxed) as usize) {
                    match run(*seed) {
                        Ok((summary, troubles)) => {
                            let mut total = total.lock().unwrap();
                            total.0 += summary;
                            total.1 += troubles;
                        }
                        Err(why) => failures.lock().unwrap().push((*seed, why)),
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap();
    failures.sort();
    for (seed, why) in failures.iter().take(10) {
        println!(
            "seed {seed} failed; replay it with WINDLASS_SEED={seed} cargo test -p store --test proof faults\n  {why}"
        );
    }
    assert!(failures.is_empty(), "{} of {} seeds failed", failures.len(), seeds.len());
    let (summary, troubles) = *total.lock().unwrap();
    println!("{} seeds: {summary:?} {troubles:?}", seeds.len());
    if seeds.len() as u64 >= SEEDS {
        assert_worthwhile(&summary, &troubles);
    }
}

/// Everything that can go wrong did, many times.
fn assert_worthwhile(summary: &Summary, troubles: &Troubles) {
    let counts = [
        ("unknown writes", summary.unknown),
        ("unknown writes that happened", summary.resolved),
        ("unknown writes that did not", summary.unknown - summary.resolved),
        ("ended leases", summary.leases_ended),
        ("reads of the past", summary.past_reads),
        ("refusals for compaction", summary.compacted),
        ("watches", summary.watches),
        ("events", summary.events),
        ("progress", summary.progress),
        ("kills", troubles.kills),
        ("power losses", troubles.power_losses),
        ("times read-only", troubles.read_only),
        ("failed opens", troubles.failed_opens),
        ("flips refused", troubles.flips_refused),
        ("clock jumps", troubles.clock_jumps),
        ("slow syncs", troubles.slow_syncs),
        ("checkpoints", troubles.checkpoints),
        ("full disks that had room again", troubles.recovered),
        ("defragmentations", troubles.chores.defragments),
        ("verifications", troubles.chores.verifications),
        ("snapshots restored", troubles.chores.snapshots),
        ("alarms raised", troubles.chores.alarms),
        ("quotas used up", troubles.chores.quotas),
    ];
    for (what, count) in counts {
        assert!(count >= 50, "only {count} {what}");
    }
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 0..20 {
        let [first, second] = [(); 2].map(|()| format!("{:?}", history(seed)));
        assert!(first == second, "seed {seed} does not replay");
    }
}
