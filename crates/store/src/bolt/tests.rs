//! Files that we wrote, read back; damage; and a look at the file by etcd's own rules.

#![allow(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

use super::page::PAGE;
use super::{Contents, is_bolt, read, write};
use crate::kv::KeyValue;
use bytes::Bytes;
use std::path::PathBuf;

fn contents(count: usize, value: usize) -> Contents {
    let key = |number: usize| KeyValue {
        key: format!("/registry/{number:06}").into(),
        value: vec![b'v'; value + number % 7].into(),
        create_revision: 2,
        // Several keys share a revision, and the order is not that of the keys.
        mod_revision: 2 + (count - number) as i64 / 3,
        version: 4,
        lease: if number.is_multiple_of(5) { 77 } else { 0 },
    };
    let keys = (0..count).map(key).map(|kv| (kv.key.clone(), kv)).collect();
    Contents { revision: 5 + count as i64, leases: vec![(77, 60), (3, 10)], keys }
}

fn file(contents: &Contents) -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let mut all = Vec::new();
    let mut remaining = None;
    write(contents, |left, piece: Bytes| {
        remaining = Some(left);
        all.extend_from_slice(&piece);
        Ok(())
    })
    .unwrap();
    assert_eq!(remaining, Some(0));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("snapshot.db");
    std::fs::write(&path, &all).unwrap();
    (dir, path, all)
}

fn sorted(mut contents: Contents) -> Contents {
    contents.leases.sort_unstable();
    contents
}

#[test]
fn what_is_written_is_read() {
    // Empty, one page, several levels, values of several pages.
    for (count, value) in [(0, 0), (3, 10), (20_000, 20), (40, 20_000)] {
        let contents = sorted(contents(count, value));
        let (_dir, path, all) = file(&contents);
        assert!(is_bolt(&path).unwrap());
        assert_eq!(all.len() % PAGE, 32, "whole pages and the hash");
        assert!(read(&path).unwrap() == contents, "{count} keys of {value} bytes");
    }
}

#[test]
fn damage_is_refused() {
    let (_dir, path, all) = file(&contents(300, 50));
    for at in (0..all.len()).step_by(997) {
        let mut damaged = all.clone();
        damaged[at] ^= 0x40;
        std::fs::write(&path, &damaged).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("does not match"), "{error}");
    }
    for len in [0, 100, 4096, all.len() / 2 / 512 * 512, all.len() - 1] {
        std::fs::write(&path, &all[..len]).unwrap();
        assert!(read(&path).is_err(), "cut at {len}");
    }
}

/// Without the hash nothing but the bounds protects: whatever is in the file, no panic and no endless walk.
#[test]
fn nonsense_never_panics() {
    let (_dir, path, all) = file(&contents(2000, 10));
    let database = &all[..all.len() - 32];
    for at in (0..database.len()).step_by(307) {
        let mut damaged = database.to_vec();
        damaged[at] = damaged[at].wrapping_add(0x81);
        std::fs::write(&path, &damaged).unwrap();
        let _ = read(&path);
    }
    std::fs::write(&path, b"not a database").unwrap();
    assert!(!is_bolt(&path).unwrap());
    assert!(read(&path).unwrap_err().to_string().contains("not a database of etcd"));
}

#[test]
fn a_store_is_restored_from_it() {
    let contents = contents(700, 30);
    let (dir, path, _) = file(&contents);
    let target = dir.path().join("restored");
    let report = crate::embedded::restore(&path, &target).unwrap();
    assert_eq!((report.revision, report.keys, report.leases), (contents.revision, 700, 2));
    let checked = crate::embedded::check(&target).unwrap();
    assert_eq!((checked.revision, checked.keys), (contents.revision, 700));
    assert_eq!(crate::embedded::check_snapshot(&path).unwrap().keys, 700);
}
