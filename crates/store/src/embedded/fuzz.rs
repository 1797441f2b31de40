//! The engine's part of [`crate::fuzz`]: each file format that it reads.
//!
//! Checksums keep random bytes away from what is behind them. So each file format has two doors: the bytes as a
//! file, and the bytes as the payloads of frames that check.

use super::checkpoint::{self, checkpoint_name};
use super::disk::{Disk, memory::MemDisk};
use super::frame::{self, Next, Reader};
use super::record::{Decoder, FORMAT, Record};
use super::wal::segment_name;
use super::{Options, Stepped, restore_on, snapshot};
use crate::kv::StoreError;
use sha2::{Digest, Sha256};
use std::sync::Arc;

fn file(name: &str, content: &[u8]) -> MemDisk {
    let disk = MemDisk::new(0);
    // A disk in memory fails only on demand.
    if let Ok(mut file) = disk.create(name) {
        let _ = file.write_at(0, content);
        let _ = file.sync();
    }
    disk
}

/// Reads frames until they end.
pub(crate) fn frames(data: &[u8]) {
    let disk = file("f", data);
    let Ok(file) = disk.open("f") else { return };
    let Ok(mut reader) = Reader::new(file.as_ref()) else { return };
    while let Ok(Next::Frame { offset, .. }) = reader.next() {
        assert!(
            offset < reader.offset() && reader.offset() <= data.len() as u64,
            "a frame outside of its file"
        );
        assert!(reader.payload().len() < data.len(), "a payload longer than its file");
    }
}

/// Decodes records; what decodes encodes to the same bytes.
pub(crate) fn records(data: &[u8]) {
    let mut again = Vec::new();
    let mut decoder = Decoder(data);
    while let Some(Ok(record)) = decoder.next() {
        // A flag may be any byte that is not 0.
        if matches!(record, Record::Alarm { .. }) {
            return;
        }
        record.encode(&mut again);
        assert!(data.starts_with(&again), "{record:?} is encoded differently");
    }
}

/// Payloads: each begins with a byte that says how long it is.
fn payloads(mut data: &[u8]) -> Vec<&[u8]> {
    let mut payloads = Vec::new();
    while let Some((len, rest)) = data.split_first() {
        let (payload, rest) = rest.split_at(usize::from(*len).min(rest.len()));
        payloads.push(payload);
        data = rest;
    }
    payloads
}

/// Reads a checkpoint.
pub(crate) fn checkpoint(data: &[u8]) {
    let mut count = 0;
    let read = checkpoint::load(&file("c", data), "c", |_| count += 1);
    assert!(matches!(read, Ok(_) | Err(StoreError::Corrupt { .. })), "{read:?}");
    assert!(count <= data.len(), "more keys than bytes");
}

/// Opens a store whose checkpoint has these payloads, with the right digest at the end.
pub(crate) fn checkpoint_payloads(data: &[u8]) {
    let revision = 5;
    let mut content = Vec::new();
    let (mut digest, mut keys, mut leases) = (0, 0, 0);
    let mut head = Vec::new();
    Record::Checkpoint { format: FORMAT, revision }.encode(&mut head);
    for (sequence, payload) in std::iter::once(&head[..]).chain(payloads(data)).enumerate() {
        frame::encode(&mut content, sequence as u64, |out| out.extend_from_slice(payload));
        digest = crc32c::crc32c_append(digest, payload);
        for record in Decoder(payload).flatten() {
            keys += u64::from(matches!(record, Record::Key { .. }));
            leases += u64::from(matches!(record, Record::Grant { .. }));
        }
    }
    let last = payloads(data).len() as u64 + 1;
    frame::encode(&mut content, last, |out| Record::Footer { keys, leases, digest }.encode(out));
    open(&file(&checkpoint_name(revision), &content));
}

/// Opens a store whose log is this.
pub(crate) fn log(data: &[u8]) {
    open(&file(&segment_name(1), data));
}

/// Opens a store whose log has these payloads.
pub(crate) fn log_payloads(data: &[u8]) {
    let mut content = Vec::new();
    let mut head = Vec::new();
    Record::Segment { format: FORMAT, number: 1, revision: 1 }.encode(&mut head);
    for (sequence, payload) in std::iter::once(&head[..]).chain(payloads(data)).enumerate() {
        frame::encode(&mut content, sequence as u64, |out| out.extend_from_slice(payload));
    }
    open(&file(&segment_name(1), &content));
}

/// Reads a snapshot.
pub(crate) fn snapshot(data: &[u8]) {
    let read = snapshot::read_on(&file("s", data), "s", &mut |done, all| assert!(done <= all), |_| {});
    assert!(matches!(read, Ok(_) | Err(StoreError::Corrupt { .. })), "{read:?}");
}

/// Restores a snapshot that has this content and the right hash; what is restored opens.
pub(crate) fn snapshot_content(data: &[u8]) {
    let mut bytes = data.to_vec();
    bytes.extend_from_slice(&Sha256::digest(data));
    let to = MemDisk::new(1);
    match restore_on(&file("s", &bytes), "s", Arc::new(to.clone())) {
        Ok(_) => open(&to),
        // Keys out of order are no damage of the file.
        Err(StoreError::Corrupt { .. } | StoreError::Invalid(_)) => {}
        Err(error) => panic!("restoring ends with {error}"),
    }
}

/// Opens it; what opens goes on, and opens again at the same revision.
fn open(disk: &MemDisk) {
    let opened = || Stepped::open(Arc::new(disk.clone()), Options::default());
    let mut store = match opened() {
        Ok(store) => store,
        Err(StoreError::Corrupt { .. }) => return,
        Err(error) => panic!("opening ends with {error}"),
    };
    store.finish();
    store.forget();
    let revision = store.store().stats().revision;
    drop(store);
    match opened() {
        Ok(again) => assert!(again.store().stats().revision >= revision, "opening again goes back"),
        Err(error) => panic!("opening again ends with {error}"),
    }
}
