//! etcd's database file: written from a frozen store, and read back.
//!
//! It is what etcd sends for a snapshot, so `etcdctl snapshot save` and `status` work on our front, a real etcd can
//! be restored from such a file, and Windlass from a real etcd's. The file is a B+ tree of pages in bbolt's format
//! (version 2): buckets `key` (revision to key, value and versions), `lease` and `meta`, and a SHA-256 of all of it
//! behind.
//!
//! Deliberately absent: changing a file, history (a file that we write holds one revision, as after a compaction),
//! members, users and alarms.

mod page;
mod read;
mod rows;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use read::read_bytes;
pub use read::{Contents, is_bolt, read};
pub use write::write;
