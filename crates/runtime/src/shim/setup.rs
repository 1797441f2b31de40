//! What a pod has before its first container: namespaces, shared memory, kernel parameters, a socket to be told on.

use super::events::Shim;
use super::protocol::{NETNS, SHM, SOCKET, Setup};
use linux::mount::Attributes;
use linux::namespace::Kind;
use linux::{Context, Error, Result};
use rustix::fs::Mode;
use std::os::unix::net::UnixListener;
use std::path::Path;

/// Lowest score: the pause process goes last, as everything of the pod depends on it.
const OOM_SCORE: &str = "-998";

/// Sets up the pod and returns its shim, listening.
pub(super) fn prepare(state: &Path, setup: &Setup) -> Result<Shim> {
    rustix::process::umask(Mode::from_raw_mode(0o022));
    linux::process::become_subreaper()?;
    let cgroups = linux::cgroup::Cgroups::detect()?;
    let group = cgroups.group(&setup.cgroup)?;
    group.create()?;
    group.add(0)?;
    // Needs CAP_SYS_RESOURCE, which a node inside a container may lack.
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    namespaces(state, setup)?;
    for (name, value) in &setup.sysctls {
        sysctl(name, value)?;
    }
    Shim::new(cgroups, listen(state)?)
}

fn namespaces(state: &Path, setup: &Setup) -> Result<()> {
    let wanted = [
        (setup.own_network, Kind::Network),
        (setup.own_ipc, Kind::Ipc),
        (setup.hostname.is_some(), Kind::Uts),
    ];
    let kinds: Vec<Kind> = wanted.into_iter().filter(|(own, _)| *own).map(|(_, kind)| kind).collect();
    linux::namespace::unshare(&kinds)?;
    if setup.own_network {
        linux::namespace::pin(Kind::Network, &state.join(NETNS))?;
        linux::namespace::raise_loopback()?;
    }
    if let Some(hostname) = &setup.hostname {
        rustix::system::sethostname(hostname.as_bytes())
            .context(|| format!("set the host name {hostname:?}"))?;
    }
    if setup.own_ipc {
        let shm = state.join(SHM);
        std::fs::create_dir_all(&shm).context(|| format!("make {}", shm.display()))?;
        let quiet = Attributes { nosuid: true, nodev: true, noexec: true, ..Attributes::default() };
        linux::mount::filesystem("tmpfs", &shm, quiet, "mode=1777,size=65536k")?;
    }
    Ok(())
}

// "a.b.c" and "a/b/c" are the same; in the latter, dots belong to a name.
fn sysctl(name: &str, value: &str) -> Result<()> {
    let what = || format!("set kernel parameter {name}={value}");
    let slash_first = name.find(['.', '/']).is_some_and(|at| name.as_bytes()[at] == b'/');
    let path = if slash_first { name.to_owned() } else { name.replace('.', "/") };
    if path.split('/').any(|part| part.is_empty() || part == "..") {
        return Err(Error::refused(what(), "it is not the name of a kernel parameter"));
    }
    std::fs::write(Path::new("/proc/sys").join(path), value).context(what)
}

fn listen(state: &Path) -> Result<UnixListener> {
    let path = state.join(SOCKET);
    // Left by a shim that is gone: the runtime starts one only when none answers.
    let _ = std::fs::remove_file(&path);
    let address = linux::socket::Address::of(&path)?;
    let before = rustix::process::umask(Mode::from_raw_mode(0o077));
    let listener = UnixListener::bind(address.path());
    rustix::process::umask(before);
    let listener = listener.context(|| format!("listen on {}", path.display()))?;
    listener.set_nonblocking(true).context(|| format!("listen on {}", path.display()))?;
    Ok(listener)
}
