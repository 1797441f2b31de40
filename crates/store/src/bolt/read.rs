//! Reading: every checksum there is, every bound. A file from elsewhere may hold anything.

use super::page::{BRANCH, BUCKET, ELEMENT, HEADER, Header, LEAF, META_BYTES, Meta, u32_at, u64_at};
use super::rows::{BOOKKEEPING, COMPACTED, KEYS, LEASES, LeaseRow, SCHEDULED, parse_revision};
use crate::kv::{KeyValue, LeaseId, Revision, StoreError};
use crate::maintenance::Frozen;
use crate::rpc;
use bytes::Bytes;
use prost::Message;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Levels of a tree at most: with two children per page that is more pages than a file can have.
const MAX_DEPTH: usize = 40;

/// Bytes of the SHA-256 behind a snapshot.
const DIGEST: u64 = 32;

/// Sizes of pages that occur.
const PAGE_SIZES: std::ops::RangeInclusive<u32> = 512..=1 << 20;

/// The latest state that a file holds; history is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Its revision.
    pub revision: Revision,
    /// Ids and granted seconds of all leases.
    pub leases: Vec<(LeaseId, i64)>,
    /// All keys.
    pub keys: BTreeMap<Bytes, KeyValue>,
}

impl Frozen for Contents {
    fn revision(&self) -> Revision {
        self.revision
    }
    fn leases(&self) -> Vec<(LeaseId, i64)> {
        self.leases.clone()
    }
    fn keys(&self) -> Box<dyn Iterator<Item = &KeyValue> + '_> {
        Box::new(self.keys.values())
    }
}

/// Whether `file` looks like a database of etcd.
///
/// # Errors
/// When it cannot be read.
pub fn is_bolt(file: &Path) -> std::io::Result<bool> {
    let mut start = Vec::new();
    File::open(file)?.take((HEADER + META_BYTES) as u64).read_to_end(&mut start)?;
    Ok(start.get(HEADER..).and_then(Meta::decode).is_some())
}

/// Reads a database file or snapshot of etcd, all of its checksums verified. Blocks.
///
/// # Errors
/// [`StoreError::Corrupt`] with the offset of what is wrong, [`StoreError::Io`].
pub fn read(path: &Path) -> Result<Contents, StoreError> {
    let failed =
        |error: std::io::Error| StoreError::Io(format!("failed to read {}: {error}", path.display()));
    let file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    all(Box::new(file), path.display().to_string(), size)
}

/// Reads the bytes of a file.
pub(crate) fn read_bytes(bytes: &[u8]) -> Result<Contents, StoreError> {
    all(Box::new(bytes.to_vec()), "bytes".to_owned(), bytes.len() as u64)
}

fn all(file: Box<dyn Source>, name: String, size: u64) -> Result<Contents, StoreError> {
    let reader = Reader { file, name, size, page_size: 0, pages: 0 };
    let meta = reader.meta()?;
    reader.verify_digest()?;
    reader.contents(meta)
}

/// What is read from.
trait Source {
    /// Fills `buffer` with what is at `offset`.
    fn fill(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()>;
}

impl Source for File {
    fn fill(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        self.read_exact_at(buffer, offset)
    }
}

impl Source for Vec<u8> {
    fn fill(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        let rest = usize::try_from(offset).ok().and_then(|from| self.get(from..)).unwrap_or_default();
        let found = rest.get(..buffer.len()).ok_or(std::io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(found);
        Ok(())
    }
}

struct Reader {
    file: Box<dyn Source>,
    name: String,
    size: u64,
    page_size: u64,
    pages: u64,
}

/// Takes a row: flags, key, value. An error says what is wrong with it.
type Take<'a> = dyn FnMut(u32, &[u8], &[u8]) -> Result<(), &'static str> + 'a;

/// What one walk over a tree needs.
struct Walk<'a> {
    seen: HashSet<u64>,
    take: &'a mut Take<'a>,
}

impl Reader {
    fn corrupt(&self, offset: u64, why: &str) -> StoreError {
        StoreError::Corrupt { file: self.name.clone(), offset, why: why.to_owned() }
    }

    fn bytes(&self, offset: u64, len: usize) -> Result<Vec<u8>, StoreError> {
        if offset.checked_add(len as u64).is_none_or(|end| end > self.size) {
            return Err(self.corrupt(offset.min(self.size), "the file ends too early"));
        }
        let mut bytes = vec![0; len];
        let read = self.file.fill(&mut bytes, offset);
        read.map_err(|error| StoreError::Io(format!("failed to read {}: {error}", self.name)))?;
        Ok(bytes)
    }

    /// A snapshot, unlike a database file, ends in a hash of what is before it.
    fn verify_digest(&self) -> Result<(), StoreError> {
        match self.size % 512 {
            0 => return Ok(()),
            DIGEST => {}
            _ => return Err(self.corrupt(self.size, "the file is incomplete")),
        }
        let content = self.size - DIGEST;
        let mut hash = Sha256::new();
        let mut offset = 0;
        while offset < content {
            let piece = self.bytes(offset, (content - offset).min(1 << 20) as usize)?;
            hash.update(&piece);
            offset += piece.len() as u64;
        }
        if hash.finalize()[..] != self.bytes(content, DIGEST as usize)?[..] {
            return Err(self.corrupt(content, "the hash at its end does not match"));
        }
        Ok(())
    }

    /// The newer of the two meta pages that is whole.
    fn meta(&self) -> Result<Meta, StoreError> {
        let at = |offset: u64| {
            let page = self.bytes(offset, HEADER + META_BYTES).ok()?;
            Meta::decode(&page[HEADER..]).filter(|meta| PAGE_SIZES.contains(&meta.page_size))
        };
        let first = at(0);
        // Where the second is depends on the size of pages, which only the first says if it is whole.
        let second = match first {
            Some(meta) => at(u64::from(meta.page_size)),
            None => [4096, 8192, 16384, 65536].into_iter().find_map(at),
        };
        let newest = [first, second].into_iter().flatten().max_by_key(|meta| meta.transaction);
        newest.ok_or_else(|| self.corrupt(0, "not a database of etcd, or its first pages are damaged"))
    }

    fn contents(mut self, meta: Meta) -> Result<Contents, StoreError> {
        self.page_size = u64::from(meta.page_size);
        self.pages = meta.pages;
        let mut buckets = BTreeMap::new();
        self.walk(meta.root, &mut |flags, name, value| {
            if flags & BUCKET == 0 {
                return Err("a row outside of all buckets");
            }
            buckets.insert(name.to_vec(), value.to_vec());
            Ok(())
        })?;
        let mut contents = Contents::default();
        self.bucket(buckets.get(KEYS), &mut |_, key, value| {
            let (revision, is_removal) = parse_revision(key).ok_or("a row that is no revision")?;
            let kv = rpc::KeyValue::decode(value).map_err(|_| "a row that is no key")?;
            contents.revision = contents.revision.max(revision);
            let kv = own(kv);
            if is_removal {
                contents.keys.remove(&kv.key);
            } else {
                contents.keys.insert(kv.key.clone(), kv);
            }
            Ok(())
        })?;
        self.bucket(buckets.get(LEASES), &mut |_, _, value| {
            let lease = LeaseRow::decode(value).map_err(|_| "a row that is no lease")?;
            contents.leases.push((lease.id, lease.ttl));
            Ok(())
        })?;
        self.bucket(buckets.get(BOOKKEEPING), &mut |_, key, value| {
            // All keys that were changed lately may have been removed.
            if key == COMPACTED || key == SCHEDULED {
                let (revision, _) = parse_revision(value).ok_or("a compaction at no revision")?;
                contents.revision = contents.revision.max(revision);
            }
            Ok(())
        })?;
        // As an empty etcd is at 1.
        contents.revision = contents.revision.max(1);
        Ok(contents)
    }

    /// Walks over a bucket: a tree, or for a small one a page inside its value.
    fn bucket(&self, value: Option<&Vec<u8>>, take: &mut Take<'_>) -> Result<(), StoreError> {
        let Some(value) = value else { return Ok(()) };
        let root = u64_at(value, 0).ok_or_else(|| self.corrupt(0, "a bucket without its root"))?;
        if root != 0 {
            return self.walk(root, take);
        }
        let page = value.get(16..).unwrap_or_default();
        let header = Header::decode(page).filter(|header| header.flags & LEAF != 0);
        let header = header.ok_or_else(|| self.corrupt(0, "a bucket without its page"))?;
        leaf(page, header, take).map_err(|why| self.corrupt(0, why))
    }

    fn walk(&self, root: u64, take: &mut Take<'_>) -> Result<(), StoreError> {
        self.node(root, 0, &mut Walk { seen: HashSet::new(), take })
    }

    fn node(&self, id: u64, depth: usize, walk: &mut Walk<'_>) -> Result<(), StoreError> {
        let offset = id.saturating_mul(self.page_size);
        if depth == MAX_DEPTH || id < 2 || id >= self.pages || !walk.seen.insert(id) {
            return Err(self.corrupt(offset.min(self.size), "a page that is out of place"));
        }
        let header = Header::decode(&self.bytes(offset, HEADER)?).filter(|header| header.id == id);
        let header = header.ok_or_else(|| self.corrupt(offset, "a page with the number of another"))?;
        let len = (u64::from(header.overflow) + 1).saturating_mul(self.page_size);
        let page = self.bytes(offset, usize::try_from(len).unwrap_or(usize::MAX))?;
        if header.flags & LEAF != 0 {
            return leaf(&page, header, walk.take).map_err(|why| self.corrupt(offset, why));
        }
        if header.flags & BRANCH == 0 {
            return Err(self.corrupt(offset, "neither a leaf nor a branch"));
        }
        for child in 0..usize::from(header.count) {
            let child = u64_at(&page, HEADER + child * ELEMENT + 8)
                .ok_or_else(|| self.corrupt(offset, "a branch that is too short"))?;
            self.node(child, depth + 1, walk)?;
        }
        Ok(())
    }
}

fn leaf(page: &[u8], header: Header, take: &mut Take<'_>) -> Result<(), &'static str> {
    const SHORT: &str = "a leaf that is too short";
    for place in 0..usize::from(header.count) {
        let element = HEADER + place * ELEMENT;
        let number = |at: usize| u32_at(page, element + at * 4).ok_or(SHORT);
        let (flags, position) = (number(0)?, number(1)? as usize);
        let (key_len, value_len) = (number(2)? as usize, number(3)? as usize);
        let start = element.checked_add(position).ok_or(SHORT)?;
        let middle = start.checked_add(key_len).ok_or(SHORT)?;
        let end = middle.checked_add(value_len).ok_or(SHORT)?;
        let key = page.get(start..middle).ok_or(SHORT)?;
        take(flags, key, page.get(middle..end).ok_or(SHORT)?)?;
    }
    Ok(())
}

fn own(kv: rpc::KeyValue) -> KeyValue {
    KeyValue {
        key: kv.key,
        value: kv.value,
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        lease: kv.lease,
    }
}
