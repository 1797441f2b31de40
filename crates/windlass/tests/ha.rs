//! A highly available control plane: three etcd members and two API servers, each in a network namespace of its own.
//! Members die, hang and are cut off; API servers are cut off. What was acknowledged is there, watches show every
//! change once, nothing is restarted by hand, and one of each kind of controller leads.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

mod support;

use bootstrap::layout::Layout;
use bootstrap::topology::{self, Place};
use client::{Client, HttpTransport, ListOptions, Watched};
use component::clock::SystemClock;
use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Pod};
use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};
use support::{program, usable};

/// How long a fault may keep things from going on.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process in a namespace of its own.
struct Process {
    place: Place,
    log: PathBuf,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Process {
    fn start(place: &Place, dir: &Path, arguments: Vec<String>) -> Self {
        let log = dir.join(format!("{}.log", place.name));
        let mut process = Self { place: place.clone(), log, arguments, child: None };
        process.restart();
        process
    }

    fn restart(&mut self) {
        self.kill();
        let log = std::fs::File::options().create(true).append(true).open(&self.log).unwrap();
        let child = Command::new("nsenter")
            .arg(format!("--net={}", self.place.namespace.display()))
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(self.child.as_ref().unwrap());
        rustix::process::kill_process(pid, signal).unwrap();
    }

    fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            eprintln!("--- {}\n{}", self.place.name, lines[lines.len().saturating_sub(25)..].join("\n"));
        }
    }
}

/// The whole: namespaces, members, API servers.
struct Machines {
    members: Vec<Process>,
    servers: Vec<Process>,
    layout: Layout,
    dir: tempfile::TempDir,
}

impl Machines {
    fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("wl").tempdir_in("/tmp").unwrap();
        let layout = Layout::new(dir.path());
        let places = topology::places(&layout, 5);
        block_on(topology::ensure(&layout, &places)).unwrap();
        let peers: Vec<_> =
            places[..3].iter().map(|place| format!("{}=http://{}:2380", place.name, place.address)).collect();
        let member = |place: &Place| {
            let data = dir.path().join("etcd").join(&place.name);
            let arguments = [
                "etcd".to_owned(),
                format!("--name={}", place.name),
                format!("--data-dir={}", data.display()),
                format!("--listen-client-urls=http://{}:2379", place.address),
                format!("--advertise-client-urls=http://{}:2379", place.address),
                format!("--listen-peer-urls=http://{}:2380", place.address),
                format!("--initial-advertise-peer-urls=http://{}:2380", place.address),
                format!("--initial-cluster={}", peers.join(",")),
            ];
            Process::start(place, dir.path(), arguments.to_vec())
        };
        let members = places[..3].iter().map(member).collect();
        let urls: Vec<_> = places[..3].iter().map(|place| format!("http://{}:2379", place.address)).collect();
        let mut machines = Self { members, servers: Vec::new(), layout, dir };
        for place in &places[3..] {
            let home = machines.home(&place.name);
            if let Some(first) = machines.servers.first() {
                share_identity(&machines.home(&first.place.name), &home);
            }
            let arguments = [
                program().display().to_string(),
                "server".to_owned(),
                format!("--data-dir={}", home.display()),
                format!("--advertise-address={}", place.address),
                format!("--etcd-servers={}", urls.join(",")),
                // What a server that was cut off has missed must still be there when it is back.
                "--etcd-compaction-interval=60s".to_owned(),
            ];
            let server = Process::start(place, machines.dir.path(), arguments.to_vec());
            machines.servers.push(server);
            let kubeconfig = home.join("admin.kubeconfig");
            machines.inside(
                machines.servers.len() - 1,
                move |client| async move {
                    // Until it answers: the kubeconfig may be there before the server listens.
                    while client.namespaced::<ConfigMap>("kube-system").get_opt("none").await.is_err() {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                },
                &kubeconfig,
            );
        }
        machines
    }

    fn home(&self, name: &str) -> PathBuf {
        self.dir.path().join("homes").join(name)
    }

    /// Runs `work` with a client of an API server, in its namespace.
    fn inside<T, F, Fut>(&self, server: usize, work: F, kubeconfig: &Path) -> T
    where
        T: Send,
        F: FnOnce(Client) -> Fut + Send,
        Fut: Future<Output = T>,
    {
        let since = Instant::now();
        while !kubeconfig.exists() {
            assert!(since.elapsed() < PATIENCE, "{} does not start", self.servers[server].place.name);
            std::thread::park_timeout(Duration::from_millis(20));
        }
        with_client(&self.servers[server].place.namespace, kubeconfig, work)
    }

    fn ask<T, F, Fut>(&self, server: usize, work: F) -> T
    where
        T: Send,
        F: FnOnce(Client) -> Fut + Send,
        Fut: Future<Output = T>,
    {
        let kubeconfig = self.home(&self.servers[server].place.name).join("admin.kubeconfig");
        self.inside(server, work, &kubeconfig)
    }

    /// Cuts a machine's link, or heals it.
    fn link(&self, name: &str, up: bool) {
        let done = Command::new("nsenter")
            .arg(format!("--net={}", topology::fabric(&self.layout).display()))
            .args(["ip", "link", "set", name, if up { "up" } else { "down" }])
            .status()
            .unwrap();
        assert!(done.success());
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        self.servers.clear();
        self.members.clear();
        if let Err(error) = topology::remove(&self.layout) {
            eprintln!("failed to remove the namespaces: {error:#}");
        }
    }
}

/// What all API servers of a cluster have in common.
fn share_identity(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.join("pki")).unwrap();
    for name in ["ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "sa.key", "sa.pub"] {
        std::fs::copy(from.join("pki").join(name), to.join("pki").join(name)).unwrap();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Runs `work` with a client of the API server on the loopback address of a namespace.
fn with_client<T, F, Fut>(namespace: &Path, kubeconfig: &Path, work: F) -> T
where
    T: Send,
    F: FnOnce(Client) -> Fut + Send,
    Fut: Future<Output = T>,
{
    let outcome = linux::namespace::inside_network(namespace, || {
        Ok(block_on(async {
            let config = client::Config::from_file(kubeconfig).unwrap();
            let transport = HttpTransport::new(config, SystemClock::shared()).await.unwrap();
            work(transport.client()).await
        }))
    });
    outcome.unwrap()
}

fn config_map(name: &str) -> ConfigMap {
    let mut map = ConfigMap::default();
    map.metadata.name = Some(name.to_owned());
    map
}

/// Creates ConfigMaps until told to stop; the names that were acknowledged.
async fn write(client: Client, writer: usize, stop: Arc<AtomicBool>, count: Arc<AtomicU64>) -> Vec<String> {
    let maps = client.namespaced::<ConfigMap>("default");
    let mut acknowledged = Vec::new();
    for number in 0.. {
        if stop.load(SeqCst) {
            break;
        }
        let name = format!("w{writer}-{number}");
        let created = tokio::time::timeout(Duration::from_secs(20), maps.create(&config_map(&name))).await;
        match created {
            Ok(Ok(_)) => {
                acknowledged.push(name);
                count.fetch_add(1, SeqCst);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            // A new name next time: what became of this one nobody promised.
            Ok(Err(_)) | Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    acknowledged
}

/// Watches ConfigMaps from `version` until `last` was seen, resuming where a connection ended; how often each was
/// added.
async fn watch(client: Client, version: String, last: String) -> BTreeMap<String, u32> {
    let maps = client.namespaced::<ConfigMap>("default");
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let mut version = version;
    loop {
        let options = ListOptions {
            resource_version: Some(version.clone()),
            allow_bookmarks: true,
            ..ListOptions::default()
        };
        let mut events = match maps.watch(&options).await {
            Ok(events) => events,
            Err(status) => {
                assert_ne!(status.code, 410, "history broke: {status}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        while let Some(event) = events.next().await {
            let event = match event {
                Ok(event) => event,
                Err(status) => {
                    assert_ne!(status.code, 410, "history broke: {status}");
                    break;
                }
            };
            match event {
                Watched::Added(map) => {
                    version = map.metadata.resource_version.clone().unwrap();
                    let name = map.metadata.name.clone().unwrap();
                    let is_last = name == last;
                    *seen.entry(name).or_default() += 1;
                    if is_last {
                        return seen;
                    }
                }
                Watched::Bookmark { revision, .. } => version = revision.to_string(),
                _ => {}
            }
        }
    }
}

/// What one load on an API server has seen.
struct Load {
    acknowledged: Vec<String>,
    seen: BTreeMap<String, u32>,
}

/// Writes to and watches one API server on a thread in its namespace.
fn load<'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    machines: &'scope Machines,
    server: usize,
    stop: &Arc<AtomicBool>,
    count: &Arc<AtomicU64>,
    writing: &Arc<AtomicU64>,
) -> std::thread::ScopedJoinHandle<'scope, Load> {
    let (stop, count, writing) = (stop.clone(), count.clone(), writing.clone());
    writing.fetch_add(1, SeqCst);
    scope.spawn(move || {
        machines.ask(server, |client| async move {
            let maps = client.namespaced::<ConfigMap>("default");
            let version = maps.list(&ListOptions::default()).await.unwrap().revision;
            let watching = watch(client.clone(), version.to_string(), "last".to_owned());
            let writes = async {
                let acknowledged = write(client, server, stop, count).await;
                writing.fetch_sub(1, SeqCst);
                acknowledged
            };
            let (acknowledged, seen) = tokio::join!(writes, watching);
            Load { acknowledged, seen }
        })
    })
}

/// Waits until the servers have acknowledged some more writes each.
fn goes_on(counts: &[&Arc<AtomicU64>], what: &str) {
    let goals: Vec<_> = counts.iter().map(|count| count.load(SeqCst) + 20).collect();
    let since = Instant::now();
    while counts.iter().zip(&goals).any(|(count, goal)| count.load(SeqCst) < *goal) {
        assert!(since.elapsed() < PATIENCE, "no writes are acknowledged: {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    eprintln!("{what}: writes go on after {:?}", since.elapsed());
}

async fn holders(client: &Client) -> Vec<String> {
    let leases = client.namespaced::<Lease>("kube-system");
    let mut holders = Vec::new();
    for name in ["kube-controller-manager", "kube-scheduler"] {
        let lease = leases.get_opt(name).await.unwrap();
        let holder = lease.and_then(|lease| lease.spec.clone()?.holder_identity).unwrap_or_default();
        holders.push(holder);
    }
    holders
}

/// The controllers lead and work: a Deployment gets its pod, which the scheduler has looked at.
fn controllers_work(machines: &Machines, server: usize, name: &str) {
    let name = name.to_owned();
    machines.ask(server, |client| async move {
        let text = format!(
            r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"{name}"}},"spec":{{"replicas":1,
            "selector":{{"matchLabels":{{"app":"{name}"}}}},"template":{{"metadata":{{"labels":{{"app":"{name}"}}}},
            "spec":{{"containers":[{{"name":"c","image":"i"}}]}}}}}}}}"#
        );
        let deployment = <Deployment as api::Kind>::from_json(text.as_bytes()).unwrap();
        client.namespaced::<Deployment>("default").create(&deployment).await.unwrap();
        let pods = client.namespaced::<Pod>("default");
        let selector = Some(format!("app={name}"));
        let looked_at = async {
            loop {
                let options = ListOptions { label_selector: selector.clone(), ..ListOptions::default() };
                let found = pods.list(&options).await;
                let scheduled = |pod: &Arc<Pod>| {
                    let status = pod.status.clone().unwrap_or_default();
                    status.conditions.unwrap_or_default().iter().any(|c| c.type_ == "PodScheduled")
                };
                if found.is_ok_and(|page| page.items.iter().any(scheduled)) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        tokio::time::timeout(PATIENCE, looked_at).await.expect("controllers and scheduler work");
    });
}

#[test]
fn members_and_servers_come_and_go() {
    const NAME: &str = "members_and_servers_come_and_go";
    if !usable(NAME) {
        return;
    }
    for tool in ["etcd", "etcdctl"] {
        if Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
            println!("skipped {NAME}: {tool} is not installed; apt-get install etcd-server etcd-client");
            return;
        }
    }
    let mut machines = Machines::start();
    controllers_work(&machines, 0, "before");
    let stop = Arc::new(AtomicBool::new(false));
    let counts = [Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0))];
    let writing = Arc::new(AtomicU64::new(0));
    let both = [&counts[0], &counts[1]];
    let mut loads = Vec::new();
    // Faults change the processes, loads only need where the servers are.
    let faulty = std::mem::take(&mut machines.members);
    let machines_ref = &machines;
    let faulty = std::thread::scope(|scope| {
        let mut members = Members { members: faulty };
        let running: Vec<_> =
            (0..2).map(|at| load(scope, machines_ref, at, &stop, &counts[at], &writing)).collect();
        goes_on(&both, "at rest");

        let leader = members.leader();
        members.members[leader].kill();
        goes_on(&both, "without the leader");
        members.members[leader].restart();
        goes_on(&both, "with the leader again");

        for at in 0..3 {
            let name = members.members[at].place.name.clone();
            machines_ref.link(&name, false);
            goes_on(&both, &format!("without the link of {name}"));
            machines_ref.link(&name, true);
        }
        goes_on(&both, "with all links");

        for member in &members.members {
            member.signal(rustix::process::Signal::STOP);
            goes_on(&both, &format!("while {} hangs", member.place.name));
            member.signal(rustix::process::Signal::CONT);
        }

        // Whoever leads is on the server that is cut off, or is not: both must end with one leader.
        let cut = &machines_ref.servers[0].place.name;
        machines_ref.link(cut, false);
        goes_on(&both[1..], "while the other API server is cut off");
        controllers_work(machines_ref, 1, "while-cut-off");
        machines_ref.link(cut, true);
        goes_on(&both, "when it is back");

        for member in &mut members.members {
            member.restart();
        }
        goes_on(&both, "after all members were restarted");
        stop.store(true, SeqCst);
        let since = Instant::now();
        while writing.load(SeqCst) > 0 {
            assert!(since.elapsed() < PATIENCE, "the writers do not end");
            std::thread::park_timeout(Duration::from_millis(20));
        }
        machines_ref.ask(0, |client| async move {
            client.namespaced::<ConfigMap>("default").create(&config_map("last")).await.unwrap();
        });
        loads.extend(running.into_iter().map(|load| load.join().unwrap()));
        members.members
    });
    machines.members = faulty;
    check(&mut machines, &loads);
}

/// The etcd members, apart from what the loads need.
struct Members {
    members: Vec<Process>,
}

impl Members {
    /// The member that leads.
    fn leader(&self) -> usize {
        let since = Instant::now();
        while since.elapsed() < PATIENCE {
            for (at, member) in self.members.iter().enumerate() {
                let done = Command::new("nsenter")
                    .arg(format!("--net={}", member.place.namespace.display()))
                    .args(["etcdctl", "--write-out=json", "--dial-timeout=1s", "--command-timeout=1s"])
                    .arg(format!("--endpoints=http://{}:2379", member.place.address))
                    .args(["endpoint", "status"])
                    .env("ETCDCTL_API", "3")
                    .output()
                    .unwrap();
                let said = String::from_utf8_lossy(&done.stdout).into_owned();
                let number = |key: &str| {
                    let rest = said.split_once(&format!("\"{key}\":"))?.1;
                    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()
                };
                if number("leader").is_some_and(|leader| leader != 0 && Some(leader) == number("member_id")) {
                    return at;
                }
            }
        }
        panic!("the etcd cluster elects no leader");
    }
}

/// What must be true after all that.
fn check(machines: &mut Machines, loads: &[Load]) {
    let acknowledged: Vec<&String> = loads.iter().flat_map(|load| &load.acknowledged).collect();
    for (server, load) in loads.iter().enumerate() {
        assert!(!machines.servers[server].has_ended(), "no API server was restarted");
        let listed = machines.ask(server, |client| async move {
            let page = client.namespaced::<ConfigMap>("default").list(&ListOptions::default()).await.unwrap();
            page.items.iter().filter_map(|map| map.metadata.name.clone()).collect::<Vec<_>>()
        });
        for name in &acknowledged {
            assert!(listed.contains(name), "{name} was acknowledged and is not there");
        }
        for name in listed.iter().filter(|name| name.starts_with('w')) {
            assert_eq!(load.seen.get(name), Some(&1), "the watch of server {server} shows {name} once");
        }
    }
    eprintln!("{} writes were acknowledged, all are there, every watch showed each once", acknowledged.len());
    controllers_work(machines, 1, "after");
    let found: Vec<_> =
        (0..2).map(|at| machines.ask(at, |client| async move { holders(&client).await })).collect();
    assert!(found[0] == found[1] && found[0].iter().all(|holder| !holder.is_empty()), "{found:?}");
    let endpoints = machines.ask(1, |client| async move {
        client.namespaced::<Endpoints>("default").get("kubernetes").await.unwrap()
    });
    let subsets = endpoints.subsets.clone().unwrap_or_default();
    let addresses: Vec<_> =
        subsets.iter().flat_map(|subset| subset.addresses.iter().flatten()).map(|a| a.ip.as_str()).collect();
    assert_eq!(addresses, ["10.200.0.4", "10.200.0.5"]);
}
