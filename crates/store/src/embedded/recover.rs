//! Opening: the newest checkpoint, then the log after it. What a crash explains is repaired (an incomplete last
//! record is cut, unfinished files are removed); anything else is refused and nothing is changed.

use super::alarm;
use super::checkpoint::{self, Item, TEMPORARY, checkpoint_name, checkpoint_revision};
use super::chunk::{Found, each_frame};
use super::disk::Disk;
use super::frame::{Next, Reader};
use super::history::History;
use super::node::{Changes, Node};
use super::record::{Change, Decoder, FORMAT, Record};
use super::state::{Lease, State};
use super::wal::{Position, Sealed, Wal, read_range, segment_name, segment_number};
use crate::kv::{Revision, StoreError};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// What a directory holds.
pub(crate) struct Recovered {
    pub(crate) state: State,
    pub(crate) history: History,
    /// Everything up to this revision is in the checkpoint.
    pub(crate) base: Revision,
    position: Position,
    /// What has to be done to the directory before the log goes on.
    repair: Repair,
}

#[derive(Default)]
struct Repair {
    /// Files that are not needed, oldest first.
    remove: Vec<String>,
    /// Cut the last segment here; 0 replaces it.
    cut: Option<u64>,
    /// There is no segment to go on in.
    create: bool,
    /// Where the last frame of the last segment starts and ends.
    last: (u64, u64),
}

/// Reads the directory; changes nothing.
pub(crate) fn read(disk: &dyn Disk, now: Duration) -> Result<Recovered, StoreError> {
    let names =
        disk.list().map_err(|e| StoreError::Io(format!("failed to list {}: {e}", disk.describe(""))))?;
    let mut checkpoints: Vec<_> = names.iter().filter_map(|name| checkpoint_revision(name)).collect();
    let mut segments: Vec<_> = names.iter().filter_map(|name| segment_number(name)).collect();
    checkpoints.sort_unstable();
    segments.sort_unstable();
    let mut repair = Repair::default();
    repair.remove.extend(names.iter().filter(|name| *name == TEMPORARY).cloned());

    let mut state = State::new(1);
    let base = checkpoints.pop();
    repair.remove.extend(checkpoints.into_iter().map(checkpoint_name));
    if let Some(revision) = base {
        load_checkpoint(disk, revision, &mut state, now)?;
    }
    let revision = state.view.revision;
    let mut replay = Replay {
        disk,
        now,
        history: History::new(revision + 1, revision),
        base: revision,
        state,
        expected: None,
        log_revision: None,
        last_frame: 0,
        inside: None,
    };
    let segments = needed(&replay, &segments, base.is_some(), &mut repair)?;
    let mut position = Position {
        number: 1,
        offset: 0,
        last: 0,
        sequence: 0,
        start: revision,
        revision,
        sealed: Vec::new(),
    };
    repair.create = segments.is_empty();
    if let Some(number) = segments.last() {
        position.number = *number;
        position.start = replay.starts_at(*number)?.unwrap_or(revision);
    }
    let names: Vec<_> = segments.iter().map(|number| segment_name(*number)).collect();
    replay.state.begin_replay();
    each_frame(disk, &names, &mut |found| {
        let (number, is_last) = (segments[found.file], found.file + 1 == segments.len());
        let Some(is_torn) = replay.frame(number, is_last, &found)? else { return Ok(()) };
        // The segment is over.
        let last = replay.log_revision.unwrap_or(revision);
        if is_last {
            repair.cut = is_torn.then_some(found.end);
            repair.last = (replay.last_frame, found.end);
            position.offset = found.end;
            position.last = replay.last_frame;
            position.revision = last;
        } else {
            position.sealed.push(Sealed { number, bytes: found.end, last });
        }
        Ok(())
    })?;
    replay.state.end_replay();
    position.sequence = replay.expected.unwrap_or(0);
    position.revision = position.revision.max(replay.state.view.revision);
    replay.state.attach_all();
    replay.state.publish_leases();
    Ok(Recovered { state: replay.state, history: replay.history, base: revision, position, repair })
}

impl Recovered {
    /// Repairs the directory and opens the log.
    pub(crate) fn resume(self, disk: Arc<dyn Disk>, segment_bytes: u64) -> io::Result<(State, History, Wal)> {
        let Self { state, history, mut position, repair, .. } = self;
        // What was read may be known to the operating system only: the process before was killed, or its sync
        // failed. Before anyone sees it, and before anything is removed for it, it has to be durable.
        disk.sync_dir()?;
        for name in &repair.remove {
            disk.remove(name)?;
        }
        if !repair.remove.is_empty() {
            disk.sync_dir()?;
        }
        let name = segment_name(position.number);
        let mut create = repair.create;
        match repair.cut {
            None => {}
            Some(0) => {
                disk.remove(&name)?;
                create = true;
            }
            Some(end) => {
                tracing::warn!(
                    file = disk.describe(&name),
                    offset = end,
                    "the last record is incomplete and was cut: it was being written when the power went"
                );
                let mut file = disk.open(&name)?;
                file.set_len(end)?;
                file.sync()?;
                position.offset = end;
            }
        }
        let wal = if create {
            Wal::create(disk, position, segment_bytes)?
        } else {
            rewrite(disk.as_ref(), &name, repair.last)?;
            Wal::resume(disk, position, segment_bytes)?
        };
        Ok((state, history, wal))
    }
}

/// Writes the last frame again. After a sync that failed the operating system calls its pages clean, so that
/// another sync would succeed and do nothing. Only the last frame can be meant: nothing is written after a failure.
fn rewrite(disk: &dyn Disk, name: &str, (from, to): (u64, u64)) -> io::Result<()> {
    let mut file = disk.open(name)?;
    let frame = read_range(file.as_ref(), from, to)?;
    file.write_at(from, &frame)?;
    file.sync()
}

fn load_checkpoint(
    disk: &dyn Disk,
    revision: Revision,
    state: &mut State,
    now: Duration,
) -> Result<(), StoreError> {
    let name = checkpoint_name(revision);
    let inside = checkpoint::load(disk, &name, |item| match item {
        Item::Lease(id, ttl) => grant(state, id, ttl, now),
        Item::Key(kv) => state.load(kv),
        Item::Alarm(alarm) => state.view.alarms.set(alarm, true),
    })?;
    if inside != revision {
        let why = format!("it holds revision {inside}, not the one of its name");
        return Err(StoreError::Corrupt { file: disk.describe(&name), offset: 0, why });
    }
    state.view.revision = revision;
    Ok(())
}

/// A lease starts anew at every start of the store: renewals are not written down.
fn grant(state: &mut State, id: i64, ttl: i64, now: Duration) {
    let deadline = now + Duration::from_secs(u64::try_from(ttl).unwrap_or(0));
    state.leases.insert(id, Lease { ttl, deadline, keys: BTreeSet::new() });
}

/// The segments to replay: from the last one that starts at or before the checkpoint, without a gap.
fn needed(
    replay: &Replay<'_>,
    segments: &[u64],
    has_checkpoint: bool,
    repair: &mut Repair,
) -> Result<Vec<u64>, StoreError> {
    let missing = |number: u64| StoreError::Corrupt {
        file: replay.disk.describe(&segment_name(number)),
        offset: 0,
        why: "the file is missing".to_owned(),
    };
    let mut first = None;
    for (at, number) in segments.iter().enumerate() {
        match replay.starts_at(*number)? {
            Some(revision) if revision <= replay.base => first = Some(at),
            Some(_) => break,
            // Replaying it tells a last segment that never got its header from a damaged one.
            None => first = first.or(Some(at)),
        }
    }
    let Some(first) = first else {
        return match segments.first() {
            Some(number) => Err(missing(number.saturating_sub(1))),
            None => Ok(Vec::new()),
        };
    };
    if !has_checkpoint && segments[first] != 1 {
        return Err(missing(1));
    }
    repair.remove.extend(segments[..first].iter().map(|number| segment_name(*number)));
    let needed = segments[first..].to_vec();
    match needed.windows(2).find(|pair| pair[0] + 1 != pair[1]) {
        Some(pair) => Err(missing(pair[0] + 1)),
        None => Ok(needed),
    }
}

struct Replay<'a> {
    disk: &'a dyn Disk,
    now: Duration,
    state: State,
    history: History,
    base: Revision,
    /// Sequence number of the next frame.
    expected: Option<u64>,
    /// Revision that the log has reached; behind the state's while it repeats what the checkpoint holds.
    log_revision: Option<Revision>,
    /// Where the last frame starts in its segment.
    last_frame: u64,
    /// The segment whose header was read last.
    inside: Option<u64>,
}

impl Replay<'_> {
    fn failed(&self, name: &str) -> impl Fn(io::Error) -> StoreError + use<> {
        let file = self.disk.describe(name);
        move |error| StoreError::Io(format!("failed to read {file}: {error}"))
    }

    /// The revision before a segment; `None` when it has no whole header.
    fn starts_at(&self, number: u64) -> Result<Option<Revision>, StoreError> {
        let name = segment_name(number);
        let failed = self.failed(&name);
        let file = self.disk.open(&name).map_err(&failed)?;
        let mut reader = Reader::new(file.as_ref()).map_err(&failed)?;
        let Next::Frame { .. } = reader.next().map_err(&failed)? else { return Ok(None) };
        match Decoder(reader.payload()).next() {
            Some(Ok(Record::Segment { revision, .. })) => Ok(Some(revision)),
            _ => Ok(None),
        }
    }

    /// Replays the next frame of a segment. At its end the answer is whether something torn follows.
    fn frame(&mut self, number: u64, is_last: bool, found: &Found<'_>) -> Result<Option<bool>, StoreError> {
        let disk = self.disk;
        let corrupt = |offset: u64, why: &str| {
            let file = disk.describe(&segment_name(number));
            StoreError::Corrupt { file, offset, why: why.to_owned() }
        };
        let offset = match found.next {
            Next::Frame { sequence, offset } => {
                if self.expected.is_some_and(|expected| expected != *sequence) {
                    return Err(corrupt(*offset, "a record is missing before this one"));
                }
                self.expected = Some(sequence + 1);
                self.last_frame = *offset;
                *offset
            }
            Next::End if self.inside == Some(number) => return Ok(Some(false)),
            Next::End | Next::Torn if is_last => return Ok(Some(true)),
            Next::End => return Err(corrupt(found.end, "the file is empty")),
            Next::Torn => return Err(corrupt(found.end, "the last record is incomplete")),
            Next::Damaged(why) => return Err(corrupt(found.end, why)),
        };
        for record in Decoder(found.payload) {
            let record = record.map_err(|why| corrupt(offset, why))?;
            let is_header = matches!(record, Record::Segment { .. });
            if is_header == (self.inside == Some(number)) {
                return Err(corrupt(offset, "the file does not start with its header"));
            }
            self.inside = Some(number);
            self.apply(number, &record).map_err(|why| corrupt(offset, why))?;
            if is_header {
                break;
            }
        }
        Ok(None)
    }

    fn apply(&mut self, number: u64, record: &Record<'_>) -> Result<(), &'static str> {
        match record {
            Record::Segment { format, number: inside, revision } => {
                if *format != FORMAT {
                    return Err("written by a newer version");
                }
                if *inside != number {
                    return Err("the file has the name of another");
                }
                if self.log_revision.is_some_and(|reached| reached != *revision) {
                    return Err("commits are missing before this file");
                }
                self.log_revision = Some(*revision);
            }
            Record::Commit { revision, changes } => {
                if self.log_revision.is_none_or(|reached| reached.checked_add(1) != Some(*revision)) {
                    return Err("commits are missing before this one");
                }
                self.log_revision = Some(*revision);
                if *revision > self.base {
                    self.commit(*revision, changes)?;
                }
            }
            Record::Grant { id, ttl } => grant(&mut self.state, *id, *ttl, self.now),
            Record::Revoke { id } => {
                self.state.leases.remove(id);
            }
            Record::Compact { revision } => {
                if *revision > self.state.view.revision.max(self.base) {
                    return Err("a compaction of the future");
                }
                if *revision < 1 {
                    return Err("a compaction before the first revision");
                }
                self.history.compact(*revision);
                for changes in self.history.pop(revision - 1, usize::MAX) {
                    self.state.forget(&changes);
                }
            }
            Record::Alarm { kind, is_set } => {
                let alarm = alarm::from_number(*kind).ok_or("an unknown alarm")?;
                self.state.view.alarms.set(alarm, *is_set);
            }
            _ => return Err("a record that does not belong into the log"),
        }
        Ok(())
    }

    fn commit(&mut self, revision: Revision, changes: &[Change<'_>]) -> Result<(), &'static str> {
        self.state.view.revision = revision;
        let mut nodes: Vec<Arc<Node>> = Vec::with_capacity(changes.len());
        for change in changes {
            nodes.push(match *change {
                Change::Put { key, value, lease } => {
                    self.state.put(revision, key, Bytes::copy_from_slice(value), lease)
                }
                Change::Delete { key } => {
                    self.state.remove(revision, key).ok_or("the removal of a key that does not exist")?
                }
            });
        }
        self.history.extend([Arc::new(Changes { revision, nodes: nodes.into() })]);
        Ok(())
    }
}
