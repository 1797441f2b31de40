//! Tables of phases, conditions and container statuses.

use super::containers::{Inputs, StartErrors};
use super::generate::{Verdict as PodVerdict, generate};
use super::{patch, phase};
use crate::model::{RuntimeContainer, RuntimePod, Sandbox, State};
use crate::pod::actions::{ProbeResults, Verdict};
use api::k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, Pod, PodCondition, PodReadinessGate, PodSpec, PodStatus, Probe,
};
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use api::k8s_openapi::jiff::Timestamp;

struct Always(Verdict);

impl ProbeResults for Always {
    fn liveness(&self, _: &str) -> Verdict {
        self.0
    }
    fn startup(&self, _: &str) -> Verdict {
        self.0
    }
    fn readiness(&self, _: &str) -> Verdict {
        self.0
    }
}

fn container(name: &str) -> Container {
    Container { name: name.to_owned(), image: Some("img".to_owned()), ..Container::default() }
}

fn pod(policy: &str, init: &[&str], regular: &[&str]) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.uid = Some("u".to_owned());
    pod.metadata.generation = Some(3);
    pod.spec = Some(PodSpec {
        restart_policy: Some(policy.to_owned()),
        init_containers: (!init.is_empty()).then(|| init.iter().map(|n| container(n)).collect()),
        containers: regular.iter().map(|n| container(n)).collect(),
        ..PodSpec::default()
    });
    pod
}

fn now() -> Time {
    Time(Timestamp::from_second(1000).unwrap())
}

fn api_status(name: &str, text: &str) -> ContainerStatus {
    let ended = |code| ContainerState {
        terminated: Some(ContainerStateTerminated { exit_code: code, ..Default::default() }),
        ..ContainerState::default()
    };
    let waiting = ContainerState { waiting: Some(ContainerStateWaiting::default()), ..Default::default() };
    let running = ContainerState { running: Some(ContainerStateRunning::default()), ..Default::default() };
    let (state, last_state) = match text {
        "running" => (running, None),
        "waiting" => (waiting, None),
        "crashed" => (waiting, Some(ended(1))),
        code => (ended(code.parse().unwrap()), None),
    };
    ContainerStatus { name: name.to_owned(), state: Some(state), last_state, ..Default::default() }
}

#[test]
fn phases() {
    for (policy, init, regular, terminal, want) in [
        ("Always", "", "waiting waiting", false, "Pending"),
        ("Always", "", "running waiting", false, "Pending"),
        ("Always", "", "running running", false, "Running"),
        ("Always", "", "running crashed", false, "Running"),
        ("Always", "", "0 1", false, "Running"),
        ("Always", "", "0 0", true, "Succeeded"),
        ("Always", "", "0 1", true, "Failed"),
        ("OnFailure", "", "0 0", false, "Succeeded"),
        ("OnFailure", "", "0 1", false, "Running"),
        ("Never", "", "0 1", false, "Failed"),
        ("Never", "", "running 1", false, "Running"),
        ("Always", "running", "waiting waiting", false, "Pending"),
        ("Always", "1", "waiting waiting", false, "Pending"),
        ("Never", "1", "waiting waiting", false, "Failed"),
        ("Always", "0", "running running", false, "Running"),
    ] {
        let names = ["a", "b"];
        let pod = pod(policy, if init.is_empty() { &[] } else { &["i"] }, &names);
        let init: Vec<_> = init.split_whitespace().map(|s| api_status("i", s)).collect();
        let list: Vec<_> = names.iter().zip(regular.split(' ')).map(|(n, s)| api_status(n, s)).collect();
        assert_eq!(
            phase::phase(&pod, &init, &list, terminal),
            want,
            "{policy} {init:?} {regular} {terminal}"
        );
    }
}

fn running(name: &str, state: State, exit_code: i32, restart_count: i32) -> RuntimeContainer {
    RuntimeContainer {
        id: format!("{name}-{restart_count}"),
        name: name.to_owned(),
        sandbox_id: "s".to_owned(),
        state,
        created_at: i64::from(restart_count) + 1,
        started_at: 5_000_000_000,
        finished_at: 9_000_000_000,
        exit_code,
        reason: String::new(),
        message: "last words".to_owned(),
        image: "img:latest".to_owned(),
        image_id: "sha256:aa".to_owned(),
        hash: 0,
        restart_count,
        log_path: String::new(),
        user: None,
    }
}

fn runtime(containers: Vec<RuntimeContainer>) -> RuntimePod {
    let sandbox = Sandbox {
        id: "s".to_owned(),
        attempt: 0,
        ready: true,
        created_at: 1,
        ips: vec!["10.244.0.7".to_owned()],
        host_network: false,
    };
    let mut pod = RuntimePod { sandboxes: vec![sandbox], containers, ..RuntimePod::default() };
    pod.sort();
    pod
}

fn make(
    pod: &Pod,
    runtime: &RuntimePod,
    errors: &StartErrors,
    verdict: Verdict,
    terminal: bool,
) -> PodStatus {
    let probes = Always(verdict);
    let inputs = Inputs { pod, runtime, errors, probes: &probes, runtime_name: "windlass", terminal };
    generate(&inputs, &["192.0.2.1".to_owned()], None, &now())
}

fn condition<'a>(status: &'a PodStatus, kind: &str) -> &'a PodCondition {
    status.conditions.as_ref().unwrap().iter().find(|c| c.type_ == kind).unwrap()
}

#[test]
fn a_running_pod_is_ready() {
    let pod = pod("Always", &[], &["a"]);
    let status = make(
        &pod,
        &runtime(vec![running("a", State::Running, 0, 0)]),
        &StartErrors::new(),
        Verdict::Unknown,
        false,
    );
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!(
        (status.pod_ip.as_deref(), status.host_ip.as_deref()),
        (Some("10.244.0.7"), Some("192.0.2.1"))
    );
    assert_eq!(status.observed_generation, Some(3));
    for kind in ["PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready", "PodScheduled"] {
        assert_eq!(condition(&status, kind).status, "True", "{kind}");
    }
    let container = &status.container_statuses.as_ref().unwrap()[0];
    assert_eq!(container.container_id.as_deref(), Some("windlass://a-0"));
    assert!(container.ready && container.started == Some(true));
}

#[test]
fn probes_and_gates_hold_readiness_back() {
    let mut probed = pod("Always", &[], &["a"]);
    probed.spec.as_mut().unwrap().containers[0].readiness_probe = Some(Probe::default());
    let up = runtime(vec![running("a", State::Running, 0, 0)]);
    let status = make(&probed, &up, &StartErrors::new(), Verdict::Failure, false);
    let ready = condition(&status, "Ready");
    assert_eq!(ready.reason.as_deref(), Some("ContainersNotReady"));
    assert_eq!(ready.message.as_deref(), Some("containers with unready status: [a]"));
    let status = make(&probed, &up, &StartErrors::new(), Verdict::Success, false);
    assert_eq!(condition(&status, "Ready").status, "True");
    let gate = PodReadinessGate { condition_type: "x/y".to_owned() };
    probed.spec.as_mut().unwrap().readiness_gates = Some(vec![gate]);
    let status = make(&probed, &up, &StartErrors::new(), Verdict::Success, false);
    assert_eq!(condition(&status, "ContainersReady").status, "True");
    assert_eq!(condition(&status, "Ready").reason.as_deref(), Some("ReadinessGatesNotReady"));
}

#[test]
fn a_crashing_container_waits_with_its_last_words() {
    let pod = pod("Always", &[], &["a"]);
    let errors =
        StartErrors::from([("a".to_owned(), ("CrashLoopBackOff".to_owned(), "back-off 10s".to_owned()))]);
    let status =
        make(&pod, &runtime(vec![running("a", State::Exited, 3, 2)]), &errors, Verdict::Unknown, false);
    let container = &status.container_statuses.as_ref().unwrap()[0];
    let waiting = container.state.as_ref().unwrap().waiting.as_ref().unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("CrashLoopBackOff"));
    let last = container.last_state.as_ref().unwrap().terminated.as_ref().unwrap();
    assert_eq!((last.exit_code, last.reason.as_deref(), container.restart_count), (3, Some("Error"), 2));
    assert_eq!(status.phase.as_deref(), Some("Running"));
}

#[test]
fn new_and_initializing_containers_say_so() {
    let reason = |pod: &Pod, runtime: &RuntimePod| {
        let status = make(pod, runtime, &StartErrors::new(), Verdict::Unknown, false);
        let state = status.container_statuses.unwrap()[0].state.clone().unwrap();
        state.waiting.unwrap().reason.unwrap()
    };
    assert_eq!(reason(&pod("Always", &[], &["a"]), &RuntimePod::default()), "ContainerCreating");
    let with_init = pod("Always", &["i"], &["a"]);
    let initializing = runtime(vec![running("i", State::Running, 0, 0)]);
    assert_eq!(reason(&with_init, &initializing), "PodInitializing");
    let status = make(&with_init, &initializing, &StartErrors::new(), Verdict::Unknown, false);
    let initialized = condition(&status, "Initialized");
    assert_eq!(initialized.message.as_deref(), Some("containers with incomplete status: [i]"));
}

#[test]
fn a_terminal_pod_has_no_waiting_containers() {
    let pod = pod("Always", &[], &["a"]);
    let status = make(&pod, &RuntimePod::default(), &StartErrors::new(), Verdict::Unknown, true);
    assert_eq!(status.phase.as_deref(), Some("Failed"));
    let state = status.container_statuses.unwrap()[0].state.clone().unwrap();
    assert_eq!(state.terminated.unwrap().reason.as_deref(), Some("ContainerStatusUnknown"));
}

#[test]
fn an_evicted_pod_has_failed() {
    let pod = pod("Always", &[], &["a"]);
    let up = runtime(vec![running("a", State::Running, 0, 0)]);
    let (errors, probes) = (StartErrors::new(), Always(Verdict::Unknown));
    let inputs = Inputs {
        pod: &pod,
        runtime: &up,
        errors: &errors,
        probes: &probes,
        runtime_name: "w",
        terminal: false,
    };
    let verdict = PodVerdict { reason: "Evicted".to_owned(), message: "low on memory".to_owned() };
    let status = generate(&inputs, &[], Some(&verdict), &now());
    assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("Evicted")));
    assert_eq!(condition(&status, "Ready").reason.as_deref(), Some("PodFailed"));
}

#[test]
fn patches_name_only_what_is_ours() {
    let foreign = PodCondition { type_: "x/y".to_owned(), status: "True".to_owned(), ..Default::default() };
    let mut pod = pod("Always", &[], &["a"]);
    pod.status = Some(PodStatus {
        conditions: Some(vec![foreign]),
        message: Some("old".to_owned()),
        ..PodStatus::default()
    });
    let up = runtime(vec![running("a", State::Running, 0, 0)]);
    let status = make(&pod, &up, &StartErrors::new(), Verdict::Unknown, false);
    assert!(status.conditions.as_ref().unwrap().iter().any(|c| c.type_ == "x/y"));
    let body: serde_json::Value =
        serde_json::from_slice(&patch::build(Some("u"), pod.status.as_ref(), &status)).unwrap();
    assert_eq!(body["metadata"]["uid"], "u");
    assert!(body["status"]["message"].is_null() && body["status"].get("message").is_some());
    assert_eq!(body["status"]["podIPs"][0]["$patch"], "replace");
    let kinds: Vec<_> =
        body["status"]["conditions"].as_array().unwrap().iter().map(|c| c["type"].clone()).collect();
    assert!(kinds.len() == 5 && !kinds.contains(&"x/y".into()));
    assert!(patch::same(&status, &status) && !patch::same(pod.status.as_ref().unwrap(), &status));
}
