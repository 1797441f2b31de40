//! An etcd member of this machine: found in PATH, given certificates, started, and started again when it dies.
//!
//! The cluster's members trust the etcd authority below `pki/etcd`, as kubeadm lays it out; machines that begin a
//! cluster together need the same one. Deliberately absent: adding members to a cluster that runs already.

use super::{Certificates, LocalSettings};
use crate::files;
use crate::layout::Layout;
use crate::pki::{Authority, Subject};
use anyhow::{Context, Result, bail};
use component::{SharedClock, Tasks};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use std::fs::File;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// Where clients and other members are answered.
const PORTS: Ports = Ports { client: 2379, peer: 2380 };
/// How long a member may take to leave.
const FAREWELL: Duration = Duration::from_secs(5);
/// Pauses before it is started again: from the first, doubling, to the last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// Where a member listens.
#[derive(Clone, Copy)]
struct Ports {
    client: u16,
    peer: u16,
}

/// A member that was started.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) url: String,
    pub(super) certificates: Certificates,
}

fn find_program(path: &std::ffi::OsStr) -> Result<PathBuf> {
    let found = std::env::split_paths(path).map(|dir| dir.join("etcd")).find(|program| program.is_file());
    found.context("--etcd-local needs the program etcd, which is not in PATH; install it (Debian: apt-get install etcd-server)")
}

/// Writes certificates and starts the member; it ends with `tasks`.
pub(super) async fn start(
    settings: &LocalSettings,
    layout: &Layout,
    address: IpAddr,
    clock: SharedClock,
    tasks: &Tasks,
) -> Result<Member> {
    start_on(PORTS, settings, layout, address, clock, tasks).await
}

async fn start_on(
    ports: Ports,
    settings: &LocalSettings,
    layout: &Layout,
    address: IpAddr,
    clock: SharedClock,
    tasks: &Tasks,
) -> Result<Member> {
    let Ports { client, peer } = ports;
    let program = find_program(&std::env::var_os("PATH").unwrap_or_default())?;
    let pki = layout.pki().join("etcd");
    let authority = Authority::open(&pki, "ca", "etcd-ca")?;
    let name = settings.name.clone().unwrap_or_else(crate::network::host_name);
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), address.to_string(), name.clone()];
    authority.issue("server", &Subject::server(&name, &names))?;
    authority.issue("apiserver-etcd-client", &Subject::client("kube-apiserver-etcd-client", None))?;
    let data = layout.root().join("etcd");
    files::make_dir(&data)?;
    let host = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
    let own = format!("{name}=https://{host}:{peer}");
    let members = settings.initial_cluster.clone().unwrap_or_else(|| own.clone());
    if !members.split(',').any(|member| member.trim().split_once('=').is_some_and(|(one, _)| one == name)) {
        bail!("--etcd-initial-cluster does not name this member, {name:?}; add {own}");
    }
    let file = |name: &str| pki.join(name).display().to_string();
    let peer_url = format!("https://{host}:{peer}");
    let client_url = format!("https://{host}:{client}");
    let url = format!("https://127.0.0.1:{client}");
    let client_urls = if client_url == url { url.clone() } else { format!("{client_url},{url}") };
    let flags = [
        ("--name", name),
        ("--data-dir", data.join("member").display().to_string()),
        ("--listen-client-urls", client_urls),
        ("--advertise-client-urls", client_url),
        ("--listen-peer-urls", peer_url.clone()),
        ("--initial-advertise-peer-urls", peer_url),
        ("--initial-cluster", members),
        ("--cert-file", file("server.crt")),
        ("--key-file", file("server.key")),
        ("--trusted-ca-file", file("ca.crt")),
        ("--peer-cert-file", file("server.crt")),
        ("--peer-key-file", file("server.key")),
        ("--peer-trusted-ca-file", file("ca.crt")),
        ("--client-cert-auth", "true".to_owned()),
        ("--peer-client-cert-auth", "true".to_owned()),
    ];
    let arguments = flags.into_iter().map(|(flag, value)| format!("{flag}={value}")).collect();
    let etcd = Etcd { program, arguments, log: data.join("etcd.log"), pid: data.join("etcd.pid") };
    let (pid_file, dir) = (etcd.pid.clone(), data.clone());
    tokio::task::spawn_blocking(move || evict(&pid_file, &dir)).await?;
    let first = etcd.spawn()?;
    let supervised = etcd.supervise(first, clock, tasks.clone());
    tasks.spawn("etcd member", supervised);
    let pair = Some((pki.join("apiserver-etcd-client.crt"), pki.join("apiserver-etcd-client.key")));
    Ok(Member { url, certificates: Certificates { ca: Some(pki.join("ca.crt")), pair } })
}

/// How to start it, and where it leaves its traces.
struct Etcd {
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    pid: PathBuf,
}

impl Etcd {
    fn spawn(&self) -> Result<Child> {
        let open = || File::options().create(true).append(true).open(&self.log);
        let out = open().with_context(|| format!("failed to open {}", self.log.display()))?;
        let err = out.try_clone().with_context(|| format!("failed to open {}", self.log.display()))?;
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("failed to start {}", self.program.display()))?;
        files::write_public(&self.pid, child.id().unwrap_or(0).to_string().as_bytes())?;
        Ok(child)
    }

    async fn supervise(self, first: Child, clock: SharedClock, tasks: Tasks) {
        let mut child = Some(first);
        let mut pause = PAUSES.0;
        loop {
            if let Some(mut running) = child.take() {
                let since = clock.instant();
                let Some(ended) = tasks.stopping().run_until_cancelled(running.wait()).await else {
                    return farewell(running, &clock).await;
                };
                let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
                tracing::error!(how, log = %self.log.display(), "the etcd member ended; starting it again");
                if clock.instant().saturating_duration_since(since) > PAUSES.1 {
                    pause = PAUSES.0;
                }
            }
            if tasks.stopping().run_until_cancelled(clock.sleep(pause)).await.is_none() {
                return;
            }
            pause = (pause * 2).min(PAUSES.1);
            match self.spawn() {
                Ok(started) => child = Some(started),
                Err(error) => tracing::error!("{error:#}"),
            }
        }
    }
}

/// Ends the member that a killed process of ours has left behind: it holds the ports and the data. Blocks.
fn evict(pid_file: &Path, data: &Path) {
    let pid = std::fs::read_to_string(pid_file).ok().and_then(|pid| pid.trim().parse().ok());
    let Some(pid) = pid.and_then(Pid::from_raw) else { return };
    // Opened before the look at who it is: the number may be another process' by now.
    let Ok(left) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    let line = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    let own = data.join("member").display().to_string();
    if !String::from_utf8_lossy(&line).contains(&own) {
        return;
    }
    tracing::info!(pid = pid.as_raw_nonzero(), "ending the etcd member of an earlier run");
    let patience = Timespec { tv_sec: 5, tv_nsec: 0 };
    for signal in [Signal::TERM, Signal::KILL] {
        let mut ended = [PollFd::new(&left, PollFlags::IN)];
        if pidfd_send_signal(&left, signal).is_err() || poll(&mut ended, Some(&patience)).is_ok_and(|n| n > 0)
        {
            return;
        }
    }
}

/// Lets the member hand over leadership and close its files.
async fn farewell(mut child: Child, clock: &SharedClock) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let asked = pid.is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok());
    let patience = clock.sleep(FAREWELL);
    let has_ended = asked
        && tokio::select! {
            _ = child.wait() => true,
            () = patience => false,
        };
    if !has_ended {
        // Dropping it kills it.
        tracing::warn!("the etcd member did not end in time");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use component::clock::FakeClock;
    use store::etcd::{self, Etcd};
    use store::{Op, RangeOptions, Store, Txn};

    #[test]
    fn an_absent_program_is_named_with_its_package() {
        let error = find_program(std::ffi::OsStr::new("/nowhere")).unwrap_err().to_string();
        assert!(error.contains("etcd-server") && error.contains("PATH"), "{error}");
    }

    /// Waits for `is_so` to become true, seldom looking: what other processes do has no event here.
    async fn soon(what: &str, is_so: impl Fn() -> bool) {
        let waited = async {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), waited).await.unwrap_or_else(|_| panic!("{what}"));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_killed_member_is_started_again_with_its_data() {
        let name = "a_killed_member_is_started_again_with_its_data";
        if find_program(&std::env::var_os("PATH").unwrap_or_default()).is_err() {
            println!("skipped {name}: there is no etcd in PATH (Debian's package etcd-server has it)");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        // Both at once, so that they differ.
        let free = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let [client, peer] = free.map(|port| port.local_addr().unwrap().port());
        let clock = FakeClock::new(std::time::SystemTime::UNIX_EPOCH);
        let tasks = Tasks::new();
        let settings = LocalSettings { name: Some("one".to_owned()), initial_cluster: None };
        let address = "127.0.0.1".parse().unwrap();
        let ports = Ports { client, peer };
        let member = start_on(ports, &settings, &layout, address, clock.clone(), &tasks).await.unwrap();
        let mut options = etcd::Options::new([member.url.clone()]);
        options.tls = member.certificates.tls().unwrap();
        let store = Etcd::connect(options, Duration::from_secs(60)).await.unwrap();
        let put = |value: &'static str| Txn {
            success: vec![Op::Put { key: "key".into(), value: value.into(), lease: 0 }],
            ..Txn::default()
        };
        store.txn(put("before")).await.unwrap();

        let file = layout.root().join("etcd/etcd.pid");
        let pid = || std::fs::read_to_string(&file).ok().and_then(|pid| pid.trim().parse::<i32>().ok());
        let mut last = pid().unwrap();
        // The pause doubles with each end that comes soon after the start.
        for pause in [PAUSES.0, PAUSES.0 * 2] {
            kill_process(Pid::from_raw(last).unwrap(), Signal::KILL).unwrap();
            soon("the supervisor waits", || clock.sleepers() == 1).await;
            clock.advance(pause - Duration::from_millis(1));
            assert_eq!(pid(), Some(last), "not before the pause is over");
            assert_eq!(clock.sleepers(), 1);
            clock.advance(Duration::from_millis(1));
            soon("it is started again", || pid().is_some_and(|pid| pid != last)).await;
            last = pid().unwrap();
            let read = async {
                loop {
                    let range = store.range("key".into(), None, RangeOptions::default()).await;
                    if let Ok(range) = range {
                        return range;
                    }
                }
            };
            let range = tokio::time::timeout(Duration::from_secs(60), read).await.expect("it answers again");
            assert_eq!(range.kvs.first().map(|kv| &kv.value[..]), Some(&b"before"[..]));
        }
        assert!(tasks.stop_and_wait(Duration::from_secs(30)).await, "it ends with the tasks");
        assert!(!Path::new(&format!("/proc/{last}")).exists(), "nothing is left behind");
    }
}
