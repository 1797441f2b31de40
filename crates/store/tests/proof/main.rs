//! How the store is proven: seeded clients work on it while things go wrong, everything that they ask and are told
//! is recorded, and a checker decides whether one linear history explains it all.
//!
//! | module | what |
//! | --- | --- |
//! | `model` | recorded histories, the checker, the workload; knows only the trait |
//! | `corrupted` | proof of the checker: good histories made bad in every way |
//! | `faults` | the embedded engine in a deterministic simulation of disk, clock and scheduler |
//! | `threads` | the embedded engine as programs run it |
//! | `reference` | a real etcd, which proves the suite |
//!
//! A failing seed is printed; `WINDLASS_SEED=<seed> cargo test -p store --test proof <test>` replays it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

mod corrupted;
mod faults;
mod model;
mod reference;
mod threads;
