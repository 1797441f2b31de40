//! The simulated disk as the engine sees it: [`MemDisk`] with short and interrupted reads, reads that fail, syncs that
//! take time, and background work whose operations happen one by one, when the simulation says so.

use super::executor::Time;
use std::cell::RefCell;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use store::embedded::disk::memory::MemDisk;
use store::embedded::disk::{Disk, File};

/// What can be set while the engine runs.
#[derive(Debug, Default)]
pub(crate) struct Habits {
    /// Each sync takes so many milliseconds.
    pub(crate) slow_sync: AtomicU64,
    /// The read with this number fails, counted down; 0 is none.
    pub(crate) failing_read: AtomicU64,
    reads: AtomicU64,
}

/// The disk of a simulation.
#[derive(Clone)]
pub(crate) struct SimDisk {
    pub(crate) inner: MemDisk,
    pub(crate) habits: Arc<Habits>,
    pub(crate) time: Arc<Time>,
}

struct SimFile {
    inner: Box<dyn File>,
    disk: SimDisk,
}

impl SimDisk {
    fn file(&self, inner: Box<dyn File>) -> Box<dyn File> {
        Box::new(SimFile { inner, disk: self.clone() })
    }
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        pass()?;
        self.inner.list()
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        pass()?;
        self.inner.create(name).map(|file| self.file(file))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        pass()?;
        self.inner.open(name).map(|file| self.file(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        pass()?;
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        pass()?;
        self.inner.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        pass()?;
        self.inner.sync_dir()
    }

    fn lock(&self) -> io::Result<Option<Box<dyn Send>>> {
        self.inner.lock()
    }

    fn describe(&self, name: &str) -> String {
        self.inner.describe(name)
    }
}

impl File for SimFile {
    fn size(&self) -> io::Result<u64> {
        self.inner.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let habits = &self.disk.habits;
        let left = habits.failing_read.load(Relaxed);
        if left > 0 {
            habits.failing_read.store(left - 1, Relaxed);
            if left == 1 {
                return Err(io::Error::other("input/output error (injected)"));
            }
        }
        let part = match habits.reads.fetch_add(1, Relaxed) % 11 {
            3 => return Err(io::ErrorKind::Interrupted.into()),
            5 => (buffer.len() / 2).max(1),
            7 => 1,
            _ => buffer.len(),
        };
        let part = part.min(buffer.len());
        self.inner.read_at(offset, &mut buffer[..part])
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        pass()?;
        self.inner.write_at(offset, data)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        pass()?;
        self.inner.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        pass()?;
        self.disk.time.advance(Duration::from_millis(self.disk.habits.slow_sync.load(Relaxed)));
        self.inner.sync()
    }
}

thread_local! {
    static GATE: RefCell<Option<Arc<Gate>>> = const { RefCell::new(None) };
}

#[derive(Default)]
struct Gate {
    state: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    /// The worker stands before an operation.
    is_waiting: bool,
    may_pass: bool,
    is_killed: bool,
    result: Option<io::Result<()>>,
}

/// Waits until the simulation lets the next operation happen. The engine's own operations pass.
fn pass() -> io::Result<()> {
    let Some(gate) = GATE.with_borrow(Clone::clone) else { return Ok(()) };
    let mut state = gate.state.lock().unwrap();
    state.is_waiting = true;
    gate.changed.notify_all();
    state = gate.changed.wait_while(state, |state| !state.may_pass && !state.is_killed).unwrap();
    if state.is_killed {
        return Err(io::Error::other("killed"));
    }
    state.may_pass = false;
    state.is_waiting = false;
    Ok(())
}

/// Work on a thread of its own, whose operations on the disk happen one by one.
pub(crate) struct Background {
    gate: Arc<Gate>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    pub(crate) fn start(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> Self {
        let gate = Arc::new(Gate::default());
        let inside = gate.clone();
        let thread = std::thread::spawn(move || {
            GATE.set(Some(inside.clone()));
            let result = work();
            inside.state.lock().unwrap().result = Some(result);
            inside.changed.notify_all();
        });
        let background = Self { gate, thread: Some(thread) };
        background.wait();
        background
    }

    fn wait(&self) {
        let state = self.gate.state.lock().unwrap();
        drop(
            self.gate
                .changed
                .wait_while(state, |state| state.result.is_none() && (!state.is_waiting || state.may_pass)),
        );
    }

    /// Lets one operation happen; the result when that was the last.
    pub(crate) fn step(&self) -> Option<io::Result<()>> {
        self.gate.state.lock().unwrap().may_pass = true;
        self.gate.changed.notify_all();
        self.wait();
        self.gate.state.lock().unwrap().result.take()
    }
}

impl Drop for Background {
    /// Kills it: nothing more happens to the disk.
    fn drop(&mut self) {
        self.gate.state.lock().unwrap().is_killed = true;
        self.gate.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic shows in the result that never comes.
            let _ = thread.join();
        }
    }
}
