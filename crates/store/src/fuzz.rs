//! Entry points for fuzzing: one plain function for each decoder of stored and received bytes. They panic where the
//! decoder would, and on nothing else: bytes may be refused, never taken for something else, and never end the process.
//!
//! `fuzz/` runs them for hours, an ordinary test over mutations of real bytes for a moment.

use crate::bolt;
use crate::embedded::fuzz as engine;
use crate::front::check;
use crate::rpc;
use prost::Message;

/// A target: its name, and what it does with some bytes.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("frames", engine::frames),
    ("records", engine::records),
    ("checkpoint", engine::checkpoint),
    ("checkpoint_payloads", engine::checkpoint_payloads),
    ("log", engine::log),
    ("log_payloads", engine::log_payloads),
    ("snapshot", engine::snapshot),
    ("snapshot_content", engine::snapshot_content),
    ("bolt", bolt),
    ("etcd_messages", etcd_messages),
];

/// Reads a database file of etcd; what is read can be written, and reads the same again.
pub fn bolt(data: &[u8]) {
    let Ok(contents) = bolt::read_bytes(data) else { return };
    let mut again = Vec::new();
    let written = bolt::write(&contents, |_, piece| {
        again.extend_from_slice(&piece);
        Ok(())
    });
    assert!(written.is_ok(), "what was read cannot be written: {written:?}");
    match bolt::read_bytes(&again) {
        Ok(found) => assert_eq!(found.keys.len(), contents.keys.len(), "keys are lost"),
        Err(error) => panic!("what was written cannot be read: {error}"),
    }
}

/// Decodes a message; what it says is encoded and decoded to the same bytes.
fn message<M: Message + Default>(data: &[u8]) -> Option<M> {
    let message = M::decode(data).ok()?;
    let bytes = message.encode_to_vec();
    let again = M::decode(&bytes[..]).ok().map(|again| again.encode_to_vec());
    assert!(again.is_some_and(|again| again == bytes), "a message changes when it is encoded");
    Some(message)
}

/// Decodes what clients and servers of etcd's API send, and checks it as the front does.
pub fn etcd_messages(data: &[u8]) {
    // What a check says about it does not matter here.
    if let Some(request) = message::<rpc::RangeRequest>(data) {
        let _ = check::range(&request);
    }
    if let Some(request) = message::<rpc::PutRequest>(data) {
        let _ = check::put(&request);
    }
    if let Some(request) = message::<rpc::DeleteRangeRequest>(data) {
        let _ = check::delete(&request);
    }
    if let Some(request) = message::<rpc::TxnRequest>(data) {
        let _ = check::txn(&request, 128);
    }
    message::<rpc::CompactionRequest>(data);
    message::<rpc::WatchRequest>(data);
    message::<rpc::LeaseGrantRequest>(data);
    message::<rpc::RangeResponse>(data);
    message::<rpc::TxnResponse>(data);
    message::<rpc::WatchResponse>(data);
    message::<rpc::KeyValue>(data);
}
