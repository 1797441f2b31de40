//! The table of what to do about a pod.

use super::actions::{Actions, ProbeResults, Verdict, compute};
use crate::model::{RuntimeContainer, RuntimePod, Sandbox, State};
use crate::spec;
use api::k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod, PodSpec, Probe};
use std::collections::HashMap;

#[derive(Default)]
struct Found {
    liveness: HashMap<&'static str, Verdict>,
    startup: HashMap<&'static str, Verdict>,
}

impl ProbeResults for Found {
    fn liveness(&self, id: &str) -> Verdict {
        self.liveness.get(id).copied().unwrap_or(Verdict::Unknown)
    }
    fn startup(&self, id: &str) -> Verdict {
        self.startup.get(id).copied().unwrap_or(Verdict::Unknown)
    }
    fn readiness(&self, _: &str) -> Verdict {
        Verdict::Unknown
    }
}

fn container(name: &str) -> Container {
    Container { name: name.to_owned(), image: Some("i".to_owned()), ..Container::default() }
}

fn sidecar(name: &str) -> Container {
    Container { restart_policy: Some("Always".to_owned()), ..container(name) }
}

fn pod(policy: &str, init: Vec<Container>, regular: &[&str]) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.uid = Some("u".to_owned());
    pod.spec = Some(PodSpec {
        restart_policy: Some(policy.to_owned()),
        init_containers: Some(init),
        containers: regular.iter().map(|n| container(n)).collect(),
        ..PodSpec::default()
    });
    pod
}

fn status(name: &str, state: State, exit_code: i32) -> RuntimeContainer {
    RuntimeContainer {
        id: name.to_owned(),
        name: name.to_owned(),
        sandbox_id: "s".to_owned(),
        state,
        created_at: 1,
        started_at: 1,
        finished_at: 2,
        exit_code,
        reason: String::new(),
        message: String::new(),
        image: "i".to_owned(),
        image_id: String::new(),
        hash: spec::hash(&container(name)),
        restart_count: 0,
        log_path: String::new(),
        user: None,
    }
}

fn runtime(ready: bool, containers: Vec<RuntimeContainer>) -> RuntimePod {
    let sandbox = Sandbox {
        id: "s".to_owned(),
        attempt: 0,
        ready,
        created_at: 1,
        ips: vec!["10.0.0.2".to_owned()],
        host_network: false,
    };
    RuntimePod { sandboxes: vec![sandbox], containers, ..RuntimePod::default() }
}

/// A plan in one line: what is killed, what is started.
fn line(plan: &Actions) -> String {
    let mut words = Vec::new();
    if plan.kill_pod {
        words.push("kill-pod".to_owned());
    }
    if plan.create_sandbox {
        words.push(format!("sandbox#{}", plan.attempt));
    }
    words.extend(plan.kill.iter().map(|k| format!("kill:{}", k.name)));
    words.extend(plan.ephemeral.iter().map(|i| format!("ephemeral:{i}")));
    words.extend(plan.init.iter().map(|i| format!("init:{i}")));
    words.extend(plan.start.iter().map(|i| format!("start:{i}")));
    words.join(" ")
}

fn check(cases: Vec<(&str, Pod, RuntimePod, Found, &str)>) {
    for (case, pod, runtime, found, want) in cases {
        assert_eq!(line(&compute(&pod, &runtime, &found)), want, "{case}");
    }
}

use State::{Exited, Running, Unknown};

#[test]
fn sandboxes_and_plain_containers() {
    let none = RuntimePod::default;
    let ab = || pod("Always", vec![], &["a", "b"]);
    let mut no_ip = runtime(true, vec![]);
    no_ip.sandboxes[0].ips.clear();
    let mut changed = status("a", Running, 0);
    changed.hash = 7;
    check(vec![
        ("new", ab(), none(), Found::default(), "kill-pod sandbox#0 start:0 start:1"),
        (
            "all well",
            ab(),
            runtime(true, vec![status("a", Running, 0), status("b", Running, 0)]),
            Found::default(),
            "",
        ),
        (
            "one ended",
            ab(),
            runtime(true, vec![status("a", Exited, 1), status("b", Running, 0)]),
            Found::default(),
            "start:0",
        ),
        (
            "sandbox died",
            ab(),
            runtime(false, vec![status("a", Exited, 0)]),
            Found::default(),
            "kill-pod sandbox#1 start:0 start:1",
        ),
        ("no address", ab(), no_ip, Found::default(), "kill-pod sandbox#1 start:0 start:1"),
        (
            "changed definition",
            ab(),
            runtime(true, vec![changed, status("b", Running, 0)]),
            Found::default(),
            "kill:a start:0",
        ),
        (
            "unknown state",
            ab(),
            runtime(true, vec![status("a", Unknown, 0), status("b", Running, 0)]),
            Found::default(),
            "kill:a start:0",
        ),
    ]);
}

#[test]
fn restart_policies() {
    let done = |code| runtime(true, vec![status("a", Exited, code)]);
    let one = |policy| pod(policy, vec![], &["a"]);
    let mut rules = pod("Never", vec![], &["a"]);
    if let Some(spec) = &mut rules.spec {
        spec.containers[0].restart_policy = Some("Always".to_owned());
    }
    check(vec![
        ("always", one("Always"), done(0), Found::default(), "start:0"),
        ("on failure, failed", one("OnFailure"), done(1), Found::default(), "start:0"),
        ("on failure, done", one("OnFailure"), done(0), Found::default(), "kill-pod"),
        ("never", one("Never"), done(1), Found::default(), "kill-pod"),
        ("container's own policy wins", rules, done(1), Found::default(), "start:0"),
        (
            "never, sandbox died",
            one("Never"),
            runtime(false, vec![status("a", Exited, 1)]),
            Found::default(),
            "kill-pod",
        ),
        (
            "on failure, sandbox died, all done",
            one("OnFailure"),
            runtime(false, vec![status("a", Exited, 0)]),
            Found::default(),
            "kill-pod",
        ),
    ]);
}

#[test]
fn init_containers_run_in_order() {
    let two = |policy| pod(policy, vec![container("i0"), container("i1")], &["a"]);
    check(vec![
        ("new", two("Always"), RuntimePod::default(), Found::default(), "kill-pod sandbox#0 init:0"),
        ("sandbox only", two("Always"), runtime(true, vec![]), Found::default(), "init:0"),
        ("first runs", two("Always"), runtime(true, vec![status("i0", Running, 0)]), Found::default(), ""),
        (
            "first done",
            two("Always"),
            runtime(true, vec![status("i0", Exited, 0)]),
            Found::default(),
            "init:1",
        ),
        (
            "first failed",
            two("Always"),
            runtime(true, vec![status("i0", Exited, 1)]),
            Found::default(),
            "init:0",
        ),
        (
            "failed for good",
            two("Never"),
            runtime(true, vec![status("i0", Exited, 1)]),
            Found::default(),
            "kill-pod",
        ),
        (
            "last done",
            two("Always"),
            runtime(true, vec![status("i0", Exited, 0), status("i1", Exited, 0)]),
            Found::default(),
            "start:0",
        ),
        (
            "records of init containers are gone",
            two("Always"),
            runtime(true, vec![status("a", Exited, 1)]),
            Found::default(),
            "start:0",
        ),
    ]);
}

#[test]
fn sidecars_stay_up() {
    let probed = Container { startup_probe: Some(Probe::default()), ..sidecar("s") };
    let waiting = || pod("Always", vec![probed.clone(), container("i")], &["a"]);
    let plain = |policy| pod(policy, vec![sidecar("s"), container("i")], &["a"]);
    let up = || status("s", Running, 0);
    let started = Found { startup: HashMap::from([("s", Verdict::Success)]), ..Found::default() };
    let sick = Found { liveness: HashMap::from([("s", Verdict::Failure)]), ..Found::default() };
    check(vec![
        ("waits for its startup probe", waiting(), runtime(true, vec![up()]), Found::default(), ""),
        ("started", waiting(), runtime(true, vec![up()]), started, "init:1"),
        (
            "died while the next runs",
            plain("Always"),
            runtime(true, vec![status("s", Exited, 1), status("i", Running, 0)]),
            Found::default(),
            "init:0",
        ),
        (
            "died later",
            plain("Always"),
            runtime(true, vec![status("s", Exited, 0), status("i", Exited, 0), status("a", Running, 0)]),
            Found::default(),
            "init:0",
        ),
        (
            "unhealthy",
            plain("Always"),
            runtime(true, vec![up(), status("i", Exited, 0), status("a", Running, 0)]),
            sick,
            "kill:s init:0",
        ),
        (
            "does not keep a finished pod alive",
            plain("Never"),
            runtime(true, vec![up(), status("i", Exited, 0), status("a", Exited, 0)]),
            Found::default(),
            "kill-pod",
        ),
    ]);
}

#[test]
fn probes_and_ephemeral_containers() {
    let running = || runtime(true, vec![status("a", Running, 0)]);
    let sick = || Found { liveness: HashMap::from([("a", Verdict::Failure)]), ..Found::default() };
    let slow = Found { startup: HashMap::from([("a", Verdict::Failure)]), ..Found::default() };
    let mut debugged = pod("Always", vec![], &["a"]);
    if let Some(spec) = &mut debugged.spec {
        spec.ephemeral_containers =
            Some(vec![EphemeralContainer { name: "e".to_owned(), ..EphemeralContainer::default() }]);
    }
    check(vec![
        ("liveness", pod("Always", vec![], &["a"]), running(), sick(), "kill:a start:0"),
        ("startup", pod("OnFailure", vec![], &["a"]), running(), slow, "kill:a start:0"),
        ("liveness, never", pod("Never", vec![], &["a"]), running(), sick(), "kill-pod kill:a"),
        ("ephemeral", debugged, running(), Found::default(), "ephemeral:0"),
    ]);
}
