//! Pods on the real kernel: the runtime behind its socket, shims, namespaces, cgroups, overlayfs. Needs root and a
//! static busybox. This program is also the shim: the runtime starts it again with `shim` as its first argument.

// A test that cannot go on is to fail.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod containers;
mod fixture;
mod special;
mod streaming;
mod survival;

use fixture::Fixture;
use std::process::ExitCode;

type Test = (&'static str, fn(&Fixture) -> futures::future::LocalBoxFuture<'_, ()>);

macro_rules! tests {
    ($($module:ident :: $name:ident),* $(,)?) => {
        &[$((concat!(stringify!($module), "::", stringify!($name)), |fixture| Box::pin($module::$name(fixture)))),*]
    };
}

const TESTS: &[Test] = tests![
    containers::runs_logs_and_exits,
    containers::exec_sync_and_timeouts,
    containers::isolation_and_security,
    containers::failures_say_why,
    containers::stop_kill_and_remove,
    containers::shared_process_namespace,
    containers::limits_and_statistics,
    containers::log_rotation_and_events,
    special::host_network_needs_no_plugin,
    special::privileged_and_mounts_both_ways,
    special::a_read_only_root_with_a_terminal,
    streaming::exec_over_websocket,
    streaming::attach_over_websocket,
    streaming::exec_over_spdy,
    streaming::port_forward_over_both,
    survival::a_killed_runtime_finds_its_pods_again,
    survival::a_killed_shim_ends_its_pod,
    survival::cleanup_leaves_nothing,
];

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    match args.next() {
        Some(first) if first == "shim" => runtime::shim::main(args),
        Some(first) if first == "--list" => {
            TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
            ExitCode::SUCCESS
        }
        filter => run(filter.and_then(|filter| filter.into_string().ok())),
    }
}

fn run(filter: Option<String>) -> ExitCode {
    if let Err(why) = fixture::usable() {
        println!("skipped pods: {why}");
        return ExitCode::SUCCESS;
    }
    let filter = filter.filter(|filter| !filter.starts_with('-')).unwrap_or_default();
    let mut failed = 0;
    for (name, test) in TESTS.iter().filter(|(name, _)| name.contains(&filter)) {
        print!("test {name} ... ");
        let tokio =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let started = std::time::Instant::now();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            tokio.block_on(async {
                let fixture = Fixture::new().await;
                let limit = std::time::Duration::from_secs(60);
                let done = tokio::time::timeout(limit, test(&fixture)).await;
                fixture.finish().await;
                done.expect("the test took longer than a minute");
            });
        }));
        println!("{} ({} ms)", if outcome.is_ok() { "ok" } else { "FAILED" }, started.elapsed().as_millis());
        failed += usize::from(outcome.is_err());
    }
    if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
