//! The fuzz targets over a corpus of real files and mutations of them: what `fuzz/` does for hours, for a moment.

use super::*;
use crate::embedded::disk::Disk;
use crate::embedded::disk::memory::Random;
use crate::fuzz::TARGETS;
use crate::maintenance::Maintenance;
use crate::rpc;
use prost::Message;

/// Mutations of each member of the corpus, for each target.
const MUTATIONS: u64 = 150;

/// The files of a store that has seen a bit of everything, and what is in their frames.
fn corpus() -> Vec<Vec<u8>> {
    let fixture = Fixture::new(|options| {
        options.segment_bytes = 500;
        options.checkpoint_bytes = 500;
        options.history_revisions = 10;
    });
    futures::executor::block_on(async {
        fixture.store.lease_grant(7, 60).await.expect("grants");
        for at in 0..60 {
            let key = format!("k{}", at % 5);
            let lease = if at % 7 == 0 { 7 } else { 0 };
            let put = Op::Put { key: bytes(&key), value: bytes(&"v".repeat(at % 30)), lease };
            fixture.txn(vec![put, delete("k9")]).await.expect("writes");
        }
        fixture.store.lease_revoke(7).await.expect("revokes");
        fixture.delete("k1").await;
        let now = fixture.store.revision().await.expect("reads");
        fixture.store.compact(now).await.expect("compacts");
    });
    let mut corpus = vec![Vec::new(), vec![0; 600]];
    let snapshots = MemDisk::new(2);
    fixture.store.save_snapshot_on(&snapshots, "s").expect("saves");
    let mut snapshot = content(&snapshots, "s");
    corpus.push(snapshot.clone());
    snapshot.truncate(snapshot.len() - 32);
    corpus.push(snapshot);
    let mut database = Vec::new();
    let written = crate::bolt::write(fixture.store.freeze().as_ref(), |_, piece| {
        database.extend_from_slice(&piece);
        Ok(())
    });
    written.expect("writes");
    corpus.push(database);
    corpus.extend(messages());
    let Fixture { disk, store, .. } = fixture;
    drop(store);
    for name in disk.list().expect("lists") {
        let file = disk.open(&name).expect("opens");
        // Payloads as the targets want them: each with its length before it.
        let mut payloads = Vec::new();
        let mut reader = crate::embedded::frame::Reader::new(file.as_ref()).expect("reads");
        while let Ok(crate::embedded::frame::Next::Frame { .. }) = reader.next() {
            let payload = reader.payload();
            corpus.push(payload.to_vec());
            payloads.push(payload.len().min(255) as u8);
            payloads.extend_from_slice(&payload[..payload.len().min(255)]);
        }
        corpus.push(payloads);
        corpus.push(content(&disk, &name));
    }
    corpus
}

fn content(disk: &MemDisk, name: &str) -> Vec<u8> {
    let file = disk.open(name).expect("opens");
    let mut content = vec![0; file.size().expect("has a size") as usize];
    file.read_at(0, &mut content).expect("reads");
    content
}

/// What clients of etcd send.
fn messages() -> Vec<Vec<u8>> {
    let put = rpc::PutRequest { key: "k".into(), value: "v".into(), lease: 7, ..Default::default() };
    let op = |request| rpc::RequestOp { request: Some(request) };
    let inner = rpc::TxnRequest {
        success: vec![op(rpc::request_op::Request::RequestPut(put.clone()))],
        ..Default::default()
    };
    let compare = rpc::Compare { key: "k".into(), ..Default::default() };
    let txn = rpc::TxnRequest {
        compare: vec![compare],
        success: inner.success.clone(),
        failure: vec![op(rpc::request_op::Request::RequestTxn(inner))],
    };
    let range = rpc::RangeRequest { key: "a".into(), range_end: "z".into(), limit: 3, ..Default::default() };
    let create = rpc::WatchCreateRequest { key: "a".into(), start_revision: 3, ..Default::default() };
    let watch =
        rpc::WatchRequest { request_union: Some(rpc::watch_request::RequestUnion::CreateRequest(create)) };
    vec![put.encode_to_vec(), txn.encode_to_vec(), range.encode_to_vec(), watch.encode_to_vec()]
}

fn mutate(data: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..1 + random.below(3) {
        let at = random.below(data.len() as u64 + 1) as usize;
        let extreme = [i64::MIN, i64::MAX, -1, 0, 1, 1 << 40][random.below(6) as usize].to_le_bytes();
        match random.below(6) {
            0 => data.truncate(at),
            1 => data.insert(at, random.number() as u8),
            2 if at < data.len() => data[at] ^= 1 << random.below(8),
            3 if at < data.len() => drop(data.remove(at)),
            4 if at + 8 <= data.len() => data[at..at + 8].copy_from_slice(&extreme),
            5 => {
                let to = (at + random.below(64) as usize).min(data.len());
                let copy = data[at..to].to_vec();
                let into = random.below(data.len() as u64 + 1) as usize;
                data.splice(into..into, copy);
            }
            _ => {}
        }
    }
}

#[test]
fn no_bytes_make_a_decoder_panic() {
    let corpus = corpus();
    let mut random = Random::new(1);
    for (name, target) in TARGETS {
        let mut accepted = 0;
        for member in &corpus {
            for at in 0..MUTATIONS {
                let mut data = member.clone();
                if at > 0 {
                    mutate(&mut data, &mut random);
                }
                let run = std::panic::catch_unwind(|| target(&data));
                assert!(run.is_ok(), "{name} fails with {data:?}");
                accepted += 1;
            }
        }
        assert!(accepted > 1000, "{name}: {accepted}");
    }
}
