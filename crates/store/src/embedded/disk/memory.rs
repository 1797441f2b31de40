//! [`MemDisk`]: a directory in memory that fails and crashes on demand, from a seed, the same way each time.
//!
//! A crash keeps only what [`Disk`] promises: for each file what was synced plus a random subset of the sectors
//! written since, and a random subset of the unsynced changes to the directory (a rename is one change). After a
//! sync that failed, what was written stays readable until the crash, but no later sync makes it durable: the
//! operating system has marked those pages clean (as Linux does). It does not model devices that lie about a sync.

use super::{Disk, File};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// Unit in which a torn write tears.
const SECTOR: usize = 512;

/// What goes wrong, and when. Operations are counted from the creation of the disk (or its last crash):
/// creations, writes, changes of length, syncs, renames, removals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// This operation, and no other, fails with an I/O error; a write may be half done.
    Io(u64),
    /// The first sync of a file from this operation on fails, and no other: what it should have made durable
    /// never will be, unless it is written again.
    Sync(u64),
    /// From this operation on, creations and writes that make a file longer find no space.
    NoSpace(u64),
    /// The power goes at this operation: it and all later ones fail.
    Power(u64),
}

/// A directory in memory. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    random: Random,
    operations: u64,
    fault: Fault,
    /// Operations that [`Fault::Io`] and [`Fault::Sync`] let fail.
    hits: u64,
    locked: bool,
    files: BTreeMap<u64, Content>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    /// Changes of the directory that are not synced yet, in order: names set or removed together.
    pending_names: Vec<Vec<(String, Option<u64>)>>,
    next_file: u64,
}

#[derive(Clone, Debug, Default)]
struct Content {
    durable: Vec<u8>,
    pending: Vec<Write>,
    current: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Write {
    Data(usize, Vec<u8>),
    Length(usize),
}

/// A small generator of random numbers (splitmix64), so that a seed means the same on every machine.
#[derive(Clone, Debug, Default)]
pub struct Random(u64);

impl Random {
    /// The sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`, which must not be 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.number() % limit
    }
}

impl MemDisk {
    /// An empty directory whose accidents follow `seed`.
    pub fn new(seed: u64) -> Self {
        let state = State { random: Random::new(seed), next_file: 1, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Sets what goes wrong from now on.
    pub fn set_fault(&self, fault: Fault) {
        self.state.lock().fault = fault;
    }

    /// Operations so far.
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// Whether the power went by [`Fault::Power`].
    pub fn is_off(&self) -> bool {
        let state = self.state.lock();
        matches!(state.fault, Fault::Power(at) if state.operations >= at)
    }

    /// Whether there is no space by [`Fault::NoSpace`].
    pub fn is_full(&self) -> bool {
        let state = self.state.lock();
        matches!(state.fault, Fault::NoSpace(at) if state.operations >= at)
    }

    /// Operations that failed by [`Fault::Io`] or [`Fault::Sync`] so far.
    pub fn hits(&self) -> u64 {
        self.state.lock().hits
    }

    /// Sum of the lengths of all files.
    pub fn size(&self) -> u64 {
        let state = self.state.lock();
        state.names.values().filter_map(|id| state.files.get(id)).map(|file| file.current.len() as u64).sum()
    }

    /// The power went: drops what is not durable, ends the fault, starts to count operations from 0.
    pub fn crash(&self) {
        let state = &mut *self.state.lock();
        for change in std::mem::take(&mut state.pending_names) {
            if state.random.below(2) == 0 {
                for (name, id) in change {
                    match id {
                        Some(id) => state.durable_names.insert(name, id),
                        None => state.durable_names.remove(&name),
                    };
                }
            }
        }
        state.names = state.durable_names.clone();
        let names = &state.names;
        state.files.retain(|id, _| names.values().any(|named| named == id));
        for file in state.files.values_mut() {
            for write in std::mem::take(&mut file.pending) {
                keep_some(&mut file.durable, &write, &mut state.random);
            }
            file.current = file.durable.clone();
        }
        state.fault = Fault::None;
        state.operations = 0;
        state.locked = false;
    }

    /// Flips one bit of a file, durably: what a bad medium does.
    pub fn flip(&self, name: &str, bit: u64) {
        let state = &mut *self.state.lock();
        let Some(file) = state.names.get(name).and_then(|id| state.files.get_mut(id)) else { return };
        let (byte, mask) = ((bit / 8) as usize, 1 << (bit % 8));
        for content in [&mut file.durable, &mut file.current] {
            if let Some(byte) = content.get_mut(byte) {
                *byte ^= mask;
            }
        }
    }
}

/// Applies what a crash leaves of a write: each sector is there or not.
fn keep_some(content: &mut Vec<u8>, write: &Write, random: &mut Random) {
    match write {
        Write::Length(len) => {
            if random.below(2) == 0 {
                content.resize(*len, 0);
            }
        }
        Write::Data(offset, data) => {
            let end = offset + data.len();
            // All, nothing, a prefix of any length, or any of the sectors.
            match random.below(4) {
                0 => put(content, *offset, data),
                1 => {}
                2 => put(content, *offset, &data[..random.below(data.len() as u64 + 1) as usize]),
                _ => {
                    let mut from = *offset;
                    while from < end {
                        let to = ((from / SECTOR + 1) * SECTOR).min(end);
                        if random.below(2) == 0 {
                            put(content, from, &data[from - offset..to - offset]);
                        }
                        from = to;
                    }
                }
            }
        }
    }
}

fn put(content: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if content.len() < end && !data.is_empty() {
        content.resize(end, 0);
    }
    if !data.is_empty() {
        content[offset..end].copy_from_slice(data);
    }
}

impl State {
    /// Counts an operation; `Err` when it fails.
    fn operation(&mut self, needs_space: bool) -> io::Result<()> {
        self.operations += 1;
        let now = self.operations;
        match self.fault {
            Fault::Io(at) if now == at => {
                self.hits += 1;
                Err(io::Error::other("input/output error (injected)"))
            }
            Fault::NoSpace(at) if now >= at && needs_space => Err(io::ErrorKind::StorageFull.into()),
            Fault::Power(at) if now >= at => Err(io::Error::other("power is off (injected)")),
            _ => Ok(()),
        }
    }

    fn renamed(&mut self, changes: &[(&str, Option<u64>)]) {
        self.pending_names.push(changes.iter().map(|(name, id)| ((*name).to_owned(), *id)).collect());
    }
}

impl Disk for MemDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state.lock().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        let state = &mut *self.state.lock();
        state.operation(true)?;
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let id = state.next_file;
        state.next_file += 1;
        state.files.insert(id, Content::default());
        state.names.insert(name.to_owned(), id);
        state.renamed(&[(name, Some(id))]);
        Ok(Box::new(MemFile { disk: self.clone(), id }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        let state = self.state.lock();
        let id = *state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(MemFile { disk: self.clone(), id }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let state = &mut *self.state.lock();
        state.operation(false)?;
        let id = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), id);
        state.renamed(&[(from, None), (to, Some(id))]);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let state = &mut *self.state.lock();
        state.operation(false)?;
        state.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        state.renamed(&[(name, None)]);
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let state = &mut *self.state.lock();
        state.operation(false)?;
        state.durable_names = state.names.clone();
        state.pending_names.clear();
        Ok(())
    }

    fn lock(&self) -> io::Result<Option<Box<dyn Send>>> {
        let mut state = self.state.lock();
        if state.locked {
            return Ok(None);
        }
        state.locked = true;
        Ok(Some(Box::new(Guard(self.clone()))))
    }

    fn describe(&self, name: &str) -> String {
        format!("memory:{name}")
    }
}

struct Guard(MemDisk);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.state.lock().locked = false;
    }
}

struct MemFile {
    disk: MemDisk,
    id: u64,
}

impl MemFile {
    fn with<T>(&self, work: impl FnOnce(&mut State, u64) -> io::Result<T>) -> io::Result<T> {
        work(&mut self.disk.state.lock(), self.id)
    }
}

impl State {
    fn content(&mut self, id: u64) -> io::Result<&mut Content> {
        self.files.get_mut(&id).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl File for MemFile {
    fn size(&self) -> io::Result<u64> {
        self.with(|state, id| Ok(state.content(id)?.current.len() as u64))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.with(|state, id| {
            let rest = state.content(id)?.current.get(offset as usize..).unwrap_or_default();
            let read = rest.len().min(buffer.len());
            buffer[..read].copy_from_slice(&rest[..read]);
            Ok(read)
        })
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with(|state, id| {
            let grows = offset as usize + data.len() > state.content(id)?.current.len();
            let failure = state.operation(grows);
            // A failing write may have written the beginning.
            let done = match failure {
                Ok(()) => data.len(),
                Err(_) => state.random.below(data.len() as u64 + 1) as usize,
            };
            let content = state.content(id)?;
            put(&mut content.current, offset as usize, &data[..done]);
            content.pending.push(Write::Data(offset as usize, data[..done].to_vec()));
            failure
        })
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.with(|state, id| {
            let grows = len as usize > state.content(id)?.current.len();
            state.operation(grows)?;
            let content = state.content(id)?;
            content.current.resize(len as usize, 0);
            content.pending.push(Write::Length(len as usize));
            Ok(())
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        self.with(|state, id| {
            let mut result = state.operation(false);
            if let Fault::Sync(at) = state.fault
                && state.operations >= at
            {
                state.fault = Fault::None;
                state.hits += 1;
                result = Err(io::Error::other("input/output error (injected)"));
            }
            // The power went: what it left is decided there.
            let is_off = matches!(state.fault, Fault::Power(at) if state.operations >= at);
            if is_off {
                return result;
            }
            let State { files, random, .. } = state;
            let content = files.get_mut(&id).ok_or(io::ErrorKind::NotFound)?;
            for write in std::mem::take(&mut content.pending) {
                match (&result, &write) {
                    (Ok(()), Write::Data(offset, data)) => put(&mut content.durable, *offset, data),
                    (Ok(()), Write::Length(len)) => content.durable.resize(*len, 0),
                    (Err(_), Write::Data(..)) => keep_some(&mut content.durable, &write, random),
                    // The journal of the file system has it.
                    (Err(_), Write::Length(_)) => content.pending.push(write),
                }
            }
            result
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_failed_sync_left_is_never_made_durable() -> io::Result<()> {
        let mut lost = 0;
        for seed in 0..50 {
            let disk = MemDisk::new(seed);
            let mut file = disk.create("a")?;
            disk.sync_dir()?;
            file.write_at(0, b"data")?;
            disk.set_fault(Fault::Sync(0));
            assert!(file.sync().is_err());
            file.sync()?;
            assert_eq!(file.size()?, 4, "seed {seed}");
            disk.crash();
            lost += u64::from(disk.open("a")?.size()? < 4);
            // Written again it is.
            let mut file = disk.open("a")?;
            file.write_at(0, b"data")?;
            file.sync()?;
            disk.crash();
            assert_eq!(disk.open("a")?.size()?, 4, "seed {seed}");
        }
        assert!((10..50).contains(&lost), "{lost}");
        Ok(())
    }

    #[test]
    fn a_crash_keeps_what_was_synced() -> io::Result<()> {
        for seed in 0..50 {
            let disk = MemDisk::new(seed);
            let mut file = disk.create("a")?;
            file.write_at(0, b"kept")?;
            file.sync()?;
            disk.sync_dir()?;
            file.write_at(4, b"lost")?;
            disk.create("b")?;
            disk.crash();
            let mut buffer = [0; 16];
            let read = disk.open("a")?.read_at(0, &mut buffer)?;
            assert!(b"keptlost".starts_with(&buffer[..read]), "seed {seed}");
            assert!(read >= 4, "seed {seed}");
        }
        Ok(())
    }
}
