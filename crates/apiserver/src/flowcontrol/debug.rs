//! What flow control shows of itself: metrics, and upstream's three dumps below `/debug/api_priority_and_fairness/`.
//!
//! Deliberately absent: access control, which is that of every path.

use super::level::{Level, Mode};
use super::{FlowControl, stats};
use api::k8s_openapi::jiff::Timestamp;
use std::fmt::Write;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

impl FlowControl {
    /// The metrics in Prometheus' text format; empty when flow control is off.
    pub(crate) fn metrics(&self) -> String {
        let mut out = String::new();
        if !self.settings.enabled {
            return out;
        }
        let all: Vec<_> = self.stats.lock().iter().map(|(key, stats)| (key.clone(), stats.clone())).collect();
        stats::render(&mut out, &all);
        let objects = self.objects.lock();
        type Read = fn(&super::keeper::Running) -> u32;
        let gauges: [(&str, &str, Read); 4] = [
            ("nominal_limit_seats", "Seats by the level's shares.", |r| r.bounds.nominal),
            ("lower_limit_seats", "Seats that the level lends to nobody.", |r| r.bounds.lower),
            ("upper_limit_seats", "Seats that the level may borrow up to.", |r| r.bounds.upper),
            ("current_limit_seats", "Seats that the level has now.", |r| r.current),
        ];
        for (name, help, read) in gauges {
            let name = format!("apiserver_flowcontrol_{name}");
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge");
            for (level, running) in &objects.running {
                let _ = writeln!(out, "{name}{{priority_level={level:?}}} {}", read(running));
            }
        }
        let name = "apiserver_flowcontrol_seat_fair_frac";
        let _ = writeln!(out, "# HELP {name} Part of each level's demand that it gets.\n# TYPE {name} gauge");
        let _ = writeln!(out, "{name} {}", objects.fair_fraction);
        out
    }

    /// The dump called `what`, if there is one of this name.
    pub(crate) fn dump(&self, what: &str) -> Option<String> {
        let levels: Vec<(Mode, Arc<Level>)> = {
            let objects = self.objects.lock();
            objects.running.values().map(|running| (running.mode, running.level.clone())).collect()
        };
        let mut rows: Vec<Vec<String>> = Vec::new();
        let head = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        match what {
            "dump_priority_levels" => {
                rows.push(head(&[
                    "PriorityLevelName",
                    "ActiveQueues",
                    "IsIdle",
                    "IsQuiescing",
                    "WaitingRequests",
                    "ExecutingRequests",
                    "DispatchedRequests",
                    "RejectedRequests",
                    "TimedoutRequests",
                    "CancelledRequests",
                ]));
                rows.extend(levels.iter().map(|(_, level)| self.level_row(level)));
            }
            "dump_queues" => {
                rows.push(head(&[
                    "PriorityLevelName",
                    "Index",
                    "PendingRequests",
                    "ExecutingRequests",
                    "SeatsInUse",
                    "NextDispatchR",
                    "InitialSeatsSum",
                    "MaxSeatsSum",
                    "TotalWorkSum",
                ]));
                levels.iter().for_each(|(mode, level)| queue_rows(*mode, level, &mut rows));
            }
            "dump_requests" => {
                rows.push(head(&[
                    "PriorityLevelName",
                    "FlowSchemaName",
                    "QueueIndex",
                    "RequestIndexInQueue",
                    "FlowDistingsher",
                    "ArriveTime",
                    "InitialSeats",
                    "FinalSeats",
                    "AdditionalLatency",
                ]));
                levels.iter().for_each(|(_, level)| request_rows(level, &mut rows));
            }
            _ => return None,
        }
        Some(table(&rows))
    }

    fn level_row(&self, level: &Level) -> Vec<String> {
        let counts = {
            let stats = self.stats.lock();
            stats.iter().filter(|((_, of), _)| *of == level.name).fold([0; 4], |mut sum, (_, stats)| {
                sum.iter_mut().zip(stats.totals()).for_each(|(sum, count)| *sum += count);
                sum
            })
        };
        let state = level.state.lock();
        let active = state.queues.iter().filter(|queue| !queue.waiting.is_empty()).count();
        let idle = state.waiting == 0 && state.executing == 0;
        let mut row = vec![
            level.name.clone(),
            active.to_string(),
            idle.to_string(),
            "false".to_owned(),
            state.waiting.to_string(),
            state.executing.to_string(),
        ];
        row.extend(counts.iter().map(ToString::to_string));
        row
    }
}

fn queue_rows(mode: Mode, level: &Level, rows: &mut Vec<Vec<String>>) {
    if !matches!(mode, Mode::Queue(_)) {
        let mut row = vec![level.name.clone()];
        row.resize(9, "<none>".to_owned());
        rows.push(row);
        return;
    }
    let state = level.state.lock();
    rows.extend(state.queues.iter().enumerate().map(|(at, queue)| {
        let sum =
            |of: fn(&super::queue::Waiter) -> u32| queue.waiting.iter().map(of).sum::<u32>().to_string();
        let work: f64 = queue.waiting.iter().map(|w| f64::from(w.seats) * w.work.after.as_secs_f64()).sum();
        vec![
            level.name.clone(),
            at.to_string(),
            queue.waiting.len().to_string(),
            queue.executing.to_string(),
            queue.seats.to_string(),
            format!("{:.8}ss", queue.start),
            sum(|waiter| waiter.work.seats),
            sum(|waiter| waiter.seats),
            format!("{work:.8}ss"),
        ]
    }));
}

fn request_rows(level: &Level, rows: &mut Vec<Vec<String>>) {
    let state = level.state.lock();
    for (at, queue) in state.queues.iter().enumerate() {
        rows.extend(queue.waiting.iter().enumerate().map(|(place, waiter)| {
            let since = waiter.since.duration_since(UNIX_EPOCH).unwrap_or_default();
            let nanos = i128::try_from(since.as_nanos()).unwrap_or_default();
            let since = Timestamp::from_nanosecond(nanos).map(|time| time.to_string()).unwrap_or_default();
            vec![
                level.name.clone(),
                waiter.schema.name.clone(),
                at.to_string(),
                place.to_string(),
                waiter.distinguisher.clone(),
                since,
                waiter.work.seats.to_string(),
                waiter.work.last.to_string(),
                format!("{:?}", waiter.work.after),
            ]
        }));
    }
}

/// Comma-separated columns, aligned by spaces (upstream's layout).
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.len() + 1).max();
    let widths: Vec<usize> = (0..columns).map(|at| width(at).unwrap_or(0).max(8) + 1).collect();
    let mut out = String::new();
    for row in rows {
        for (at, cell) in row.iter().enumerate() {
            if at + 1 == row.len() {
                out.push_str(cell);
            } else {
                let _ = write!(out, "{:width$}", format!("{cell},"), width = widths[at]);
            }
        }
        out.push('\n');
    }
    out
}
