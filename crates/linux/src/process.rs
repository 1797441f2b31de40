//! Processes: forking with a handle, waiting, signals as a descriptor, daemons, running another program.
//!
//! [`fork`] may only be called by a process that has one thread: the child continues to run Rust code, and locks
//! that another thread held would stay locked in it for ever. [`fork`] checks that.

use crate::error::{Context, Error, Result};
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::process::{Pid, Signal, WaitOptions};
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A child process made by [`fork`].
#[derive(Debug)]
pub struct Child {
    /// Its process id, in the caller's pid namespace.
    pub pid: Pid,
    /// A handle that never comes to mean another process.
    pub pidfd: OwnedFd,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// By itself.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Exit {
    /// The exit code a shell would show: 128 + n for signal n.
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

/// Forks, with the child running `run` and ending with the code it returns; in new namespaces of pids if `new_pids`.
/// Refused when the process has more than one thread.
pub fn fork(new_pids: bool, run: impl FnOnce() -> i32) -> Result<Child> {
    let threads = std::fs::read_dir("/proc/self/task").context(|| "count own threads".to_owned())?.count();
    if threads != 1 {
        let why = format!("the process has {threads} threads; only a single-threaded one may fork");
        return Err(Error::refused("fork", why));
    }
    let mut pidfd: i32 = -1;
    let flags = libc::CLONE_PIDFD | if new_pids { libc::CLONE_NEWPID } else { 0 };
    let mut args = libc::clone_args {
        flags: u64::from(flags.unsigned_abs()),
        pidfd: &raw mut pidfd as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: u64::from(libc::SIGCHLD.unsigned_abs()),
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: 0,
    };
    // SAFETY: without CLONE_VM this is fork(2): the child gets a copy of everything, on a copy of this stack. The
    // process has one thread (checked above), so no lock is held by a thread that the child lacks.
    let pid =
        unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, std::mem::size_of::<libc::clone_args>()) };
    match pid {
        0 => {
            let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_or(70);
            // SAFETY: ends the child at once; handlers registered by the parent must not run twice.
            unsafe { libc::_exit(code) }
        }
        pid if pid > 0 => {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            let pid = pid.ok_or_else(|| Error::refused("fork", "the kernel returned no process id"))?;
            // SAFETY: CLONE_PIDFD made the kernel store a descriptor that nobody else owns.
            Ok(Child { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } })
        }
        _ => Err(std::io::Error::last_os_error()).context(|| "fork".to_owned()),
    }
}

/// Ends the process at once, without running anything registered for exit.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: never returns, touches no memory.
    unsafe { libc::_exit(code) }
}

/// The process id that the `/proc` mounted here shows for a handle: the host's, when asked from a pod's pid
/// namespace while the host's `/proc` is mounted.
pub fn visible_pid(pidfd: BorrowedFd<'_>) -> Result<i32> {
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let text = std::fs::read_to_string(&path).context(|| format!("read {path}"))?;
    let pid = text.lines().find_map(|line| line.strip_prefix("Pid:")).and_then(|pid| pid.trim().parse().ok());
    pid.filter(|pid| *pid > 0)
        .ok_or_else(|| Error::refused("find the process id of a child", "it is not visible in /proc"))
}

/// A handle to the process `pid`.
pub fn open(pid: i32) -> Result<OwnedFd> {
    let id = Pid::from_raw(pid).ok_or_else(|| Error::refused("open a process", format!("{pid} is no id")))?;
    rustix::process::pidfd_open(id, rustix::process::PidfdFlags::empty())
        .context(|| format!("open process {pid}"))
}

/// Sends signal number `signal` through a handle. Returns false when the process has ended already.
pub fn signal(pidfd: impl rustix::fd::AsFd, signal: i32) -> Result<bool> {
    // SAFETY: no memory is passed; realtime signals, which rustix's named set lacks, are valid numbers here.
    let done =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_fd().as_raw_fd(), signal, 0usize, 0) };
    if done == 0 {
        return Ok(true);
    }
    match std::io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ESRCH) => Ok(false),
        error => Err(error).context(|| format!("send signal {signal}")),
    }
}

/// The next child that has ended, if any, without waiting.
pub fn reap() -> Result<Option<(i32, Exit)>> {
    match rustix::process::wait(WaitOptions::NOHANG) {
        Ok(None) | Err(rustix::io::Errno::CHILD) => Ok(None),
        Ok(Some((pid, status))) => {
            let exit = match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => Exit::Code(code),
                (None, Some(signal)) => Exit::Signal(signal),
                (None, None) => return Ok(None),
            };
            Ok(Some((pid.as_raw_nonzero().get(), exit)))
        }
        Err(error) => Err(error).context(|| "wait for children".to_owned()),
    }
}

/// Waits for the child `pid` to end.
pub fn wait(pid: Pid) -> Result<Exit> {
    loop {
        match rustix::process::waitpid(Some(pid), WaitOptions::empty()) {
            Ok(Some((_, status))) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => return Ok(Exit::Code(code)),
                (None, Some(signal)) => return Ok(Exit::Signal(signal)),
                (None, None) => {}
            },
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context(|| "wait for a child".to_owned()),
        }
    }
}

/// Makes orphaned descendants of this process its children, so that it can reap them.
pub fn become_subreaper() -> Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .context(|| "become the reaper of descendants".to_owned())
}

/// Blocks these signals in this thread and returns a non-blocking descriptor that becomes readable when one arrives.
pub fn signal_descriptor(signals: &[Signal]) -> Result<OwnedFd> {
    let set = set_of(signals);
    // SAFETY: `set` is an initialised signal set that outlives both calls; the old mask is not asked for.
    let fd = unsafe {
        if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
            return Err(std::io::Error::last_os_error()).context(|| "block signals".to_owned());
        }
        libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    };
    if fd < 0 {
        return Err(std::io::Error::last_os_error()).context(|| "watch signals".to_owned());
    }
    // SAFETY: signalfd just returned this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The next signal number waiting in a [`signal_descriptor`].
pub fn next_signal(descriptor: &OwnedFd) -> Option<i32> {
    let mut info = [0u8; std::mem::size_of::<libc::signalfd_siginfo>()];
    match rustix::io::read(descriptor, &mut info) {
        // ssi_signo is the first field, a u32.
        Ok(length) if length == info.len() => Some(i32::from_ne_bytes([info[0], info[1], info[2], info[3]])),
        _ => None,
    }
}

fn set_of(signals: &[Signal]) -> libc::sigset_t {
    // SAFETY: a zeroed sigset_t is a valid value, and sigemptyset and sigaddset only write to it.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, signal.as_raw());
        }
        set
    }
}

/// Gives a program about to start the signal state it expects: nothing blocked, nothing ignored.
pub fn reset_signals() {
    // SAFETY: installs default dispositions and an empty mask for the calling process; unknown numbers just fail.
    unsafe {
        for signal in 1..=64 {
            if signal != libc::SIGKILL && signal != libc::SIGSTOP {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Sets a resource limit by its kernel number (`RLIMIT_*`).
pub fn limit(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: `limit` lives across the call, which only reads it.
    if unsafe { libc::setrlimit(resource as _, &raw const limit) } == 0 {
        return Ok(());
    }
    Err(std::io::Error::last_os_error()).context(|| format!("set resource limit {resource}"))
}

/// Marks every descriptor above the standard three to be closed when a program is started.
pub fn close_others_on_exec() -> Result<()> {
    // SAFETY: only sets a flag on descriptors; none is closed here.
    let done = unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if done == 0 {
        return Ok(());
    }
    Err(std::io::Error::last_os_error()).context(|| "mark descriptors".to_owned())
}

/// Closes every descriptor above the standard three. For a process that has just been started and owns none yet.
pub fn close_inherited() {
    // SAFETY: called before this process has opened anything of its own, so nothing owned is closed.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0);
    }
}

/// Puts `fd` in the place of standard descriptor `number` (0, 1 or 2).
pub fn replace_standard(fd: impl rustix::fd::AsFd, number: i32) -> Result<()> {
    // SAFETY: dup2 onto 0..=2 replaces descriptors that the standard library treats as always present.
    if unsafe { libc::dup2(fd.as_fd().as_raw_fd(), number) } == number {
        return Ok(());
    }
    Err(std::io::Error::last_os_error()).context(|| format!("replace descriptor {number}"))
}

/// Finds a program the way `execvp` does, in the PATH of `env`.
pub fn find_program(name: &str, env: &[String], cwd: &Path) -> Result<PathBuf> {
    let failed = |why: &str| Error::refused(format!("exec {name:?}"), why);
    if name.is_empty() {
        return Err(failed("the command is empty"));
    }
    if name.contains('/') {
        return Ok(cwd.join(name));
    }
    let path = env.iter().rev().find_map(|entry| entry.strip_prefix("PATH="));
    let mut denied = false;
    for dir in path.unwrap_or("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").split(':') {
        let candidate = cwd.join(dir).join(name);
        match std::fs::metadata(&candidate) {
            Ok(found) if found.is_file() => {
                use std::os::unix::fs::PermissionsExt;
                if found.permissions().mode() & 0o111 != 0 {
                    return Ok(candidate);
                }
                denied = true;
            }
            _ => {}
        }
    }
    Err(failed(if denied { "permission denied" } else { "executable file not found in $PATH" }))
}

/// Turns the calling process into `program`. Returns only on failure.
pub fn exec(program: &Path, args: &[String], env: &[String]) -> Error {
    let what = || format!("exec {:?}", program.display().to_string());
    let words = |all: &[String]| -> std::result::Result<Vec<CString>, std::ffi::NulError> {
        all.iter().map(|word| CString::new(word.as_str())).collect()
    };
    let (path, args, env) = match (CString::new(OsStr::new(program).as_bytes()), words(args), words(env)) {
        (Ok(path), Ok(args), Ok(env)) => (path, args, env),
        _ => return Error::refused(what(), "a word contains a NUL byte"),
    };
    let pointers = |all: &[CString]| -> Vec<*const libc::c_char> {
        all.iter().map(|word| word.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(&args), pointers(&env));
    // SAFETY: both arrays end in a null pointer and point to C strings that live until the call fails.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    Error { what: what(), why: std::io::Error::last_os_error() }
}

/// Gives back the memory of program text that has been run and may not be run again soon: the kernel maps it anew
/// from its cache when it is. For small processes of a big program that mostly wait.
pub fn forget_text() -> Result<()> {
    const FILE: &str = "/proc/self/smaps";
    let text = std::fs::read_to_string(FILE).context(|| format!("read {FILE}"))?;
    for range in unchanged_text(&text) {
        // SAFETY: the range is a private mapping of a file that is not writable and has no page of its own (none
        // was ever written, relocations included), so every page reads the same when it is mapped again.
        unsafe { libc::madvise(range.0 as *mut libc::c_void, range.1 - range.0, libc::MADV_DONTNEED) };
    }
    Ok(())
}

// "55d0-55f0 r-xp 000 fd:00 123  /path" and then lines "Anonymous:  0 kB" (proc_pid_smaps(5)).
fn unchanged_text(smaps: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut current = None;
    for line in smaps.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        if let Some((from, to)) = words.first().and_then(|word| word.split_once('-')) {
            let file = words.get(5).is_some_and(|path| path.starts_with('/'));
            let fixed = words.get(1).is_some_and(|may| matches!(*may, "r-xp" | "r--p"));
            let range = usize::from_str_radix(from, 16).ok().zip(usize::from_str_radix(to, 16).ok());
            current = range.filter(|_| file && fixed);
        } else if line.starts_with("Anonymous:")
            && words.get(1) == Some(&"0")
            && let Some(range) = current.take()
        {
            found.push(range);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_is_not_forked() {
        // The test harness itself has at least two threads.
        let error = fork(false, || 0).unwrap_err().to_string();
        assert!(error.contains("threads; only a single-threaded one may fork"), "{error}");
    }

    #[test]
    fn only_mappings_that_nobody_wrote_are_text() {
        let smaps = "1000-3000 r-xp 0 fd:00 1  /bin/x\nRss: 8 kB\nAnonymous: 0 kB\nVmFlags: rd\n\
            3000-4000 r--p 0 fd:00 1  /bin/x\nAnonymous: 4 kB\n\
            4000-5000 rw-p 0 fd:00 1  /bin/x\nAnonymous: 0 kB\n\
            5000-6000 r--p 0 00:00 0\nAnonymous: 0 kB\n6000-7000 r-xp 0 00:00 0 [vdso]\nAnonymous: 0 kB\n";
        assert_eq!(unchanged_text(smaps), [(0x1000, 0x3000)]);
        // And this process survives it.
        forget_text().unwrap();
    }

    #[test]
    fn programs_are_found_as_by_a_shell() {
        let env = ["PATH=/nonexistent:/bin".to_owned()];
        assert_eq!(find_program("sh", &env, Path::new("/")).unwrap(), Path::new("/bin/sh"));
        assert_eq!(find_program("./x", &env, Path::new("/work")).unwrap(), Path::new("/work/./x"));
        let error = find_program("no-such-program", &env, Path::new("/")).unwrap_err().to_string();
        assert!(error.contains("executable file not found in $PATH"), "{error}");
    }

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        assert_eq!((Exit::Code(3).code(), Exit::Signal(9).code()), (3, 137));
    }
}
