//! Writing: the shape of all trees first, from sizes only, because the meta pages at the start say where the roots
//! are; then the pages in order. So it can be streamed, and needs memory only for the order of the keys.

use super::page::{BRANCH, BUCKET, ELEMENT, FREELIST, HEADER, Header, LEAF, META, Meta, PAGE};
use super::rows::{BOOKKEEPING, FewRows, KEYS, KeyRows, LEASES, Rows};
use crate::maintenance::Frozen;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::io;

/// Bytes of a piece, about.
const PIECE: usize = 256 << 10;

/// Meta pages and the list of free pages come first.
const FIRST_TREE: u64 = 3;

/// A page of a tree: rows of a leaf, or children of a branch.
struct Node {
    first: usize,
    count: usize,
    id: u64,
    /// Pages that it takes.
    pages: u64,
    /// Its first key.
    key: Vec<u8>,
}

/// The shape of one bucket's tree.
struct Tree<'a> {
    rows: &'a dyn Rows,
    leaves: Vec<Node>,
    /// Branches, from the lowest level up; each refers to the level below.
    levels: Vec<Vec<Node>>,
    /// Flags of the rows.
    flags: u32,
    root: u64,
}

impl<'a> Tree<'a> {
    /// Lays the tree out from page `next` on, which is moved behind it.
    fn new(rows: &'a dyn Rows, flags: u32, next: &mut u64) -> Self {
        let sizes = |row: usize| ELEMENT + rows.key(row).len() + rows.value_len(row);
        let mut leaves = group(rows.len(), sizes, |row| rows.key(row), next);
        if leaves.is_empty() {
            leaves.push(Node { first: 0, count: 0, id: *next, pages: 1, key: Vec::new() });
            *next += 1;
        }
        let mut levels: Vec<Vec<Node>> = Vec::new();
        while levels.last().map_or(leaves.len(), Vec::len) > 1 {
            let below = levels.last().unwrap_or(&leaves);
            let sizes = |child: usize| ELEMENT + below[child].key.len();
            let level = group(below.len(), sizes, |child| below[child].key.clone(), next);
            levels.push(level);
        }
        let root = levels.last().unwrap_or(&leaves)[0].id;
        Self { rows, leaves, levels, flags, root }
    }

    fn write(&self, out: &mut Out<'_>) -> io::Result<()> {
        for leaf in &self.leaves {
            out.header(leaf.id, LEAF, leaf)?;
            let rows = leaf.first..leaf.first + leaf.count;
            let mut at = 0;
            for (place, row) in rows.clone().enumerate() {
                let (key, value) = (self.rows.key(row).len(), self.rows.value_len(row));
                // From the element itself.
                let position = (leaf.count - place) * ELEMENT + at;
                for number in [self.flags as usize, position, key, value] {
                    out.number(number)?;
                }
                at += key + value;
            }
            for row in rows {
                let key = self.rows.key(row);
                out.buffer.extend_from_slice(&key);
                self.rows.write_value(row, &mut out.buffer);
            }
            out.fill_page()?;
        }
        let mut below = &self.leaves;
        for level in &self.levels {
            for branch in level {
                out.branch(branch, &below[branch.first..branch.first + branch.count])?;
            }
            below = level;
        }
        Ok(())
    }
}

/// Puts as many items on each page as fit; one that is larger than a page gets several for itself.
fn group(
    count: usize,
    size: impl Fn(usize) -> usize,
    key: impl Fn(usize) -> Vec<u8>,
    next: &mut u64,
) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut first = 0;
    while first < count {
        let mut bytes = HEADER + size(first);
        let mut end = first + 1;
        while end < count && end - first < usize::from(u16::MAX) - 1 {
            let more = size(end);
            if bytes + more > PAGE {
                break;
            }
            bytes += more;
            end += 1;
        }
        let pages = bytes.div_ceil(PAGE) as u64;
        nodes.push(Node { first, count: end - first, id: *next, pages, key: key(first) });
        *next += pages;
        first = end;
    }
    nodes
}

/// Collects bytes into pieces.
struct Out<'a> {
    emit: &'a mut dyn FnMut(u64, Bytes) -> io::Result<()>,
    buffer: Vec<u8>,
    hash: Sha256,
    /// Bytes handed out, and in all.
    sent: u64,
    total: u64,
}

impl Out<'_> {
    fn header(&mut self, id: u64, flags: u16, node: &Node) -> io::Result<()> {
        let count = u16::try_from(node.count).map_err(io::Error::other)?;
        let overflow = u32::try_from(node.pages - 1).map_err(io::Error::other)?;
        Header { id, flags, count, overflow }.encode(&mut self.buffer);
        Ok(())
    }

    fn number(&mut self, number: usize) -> io::Result<()> {
        let number = u32::try_from(number).map_err(io::Error::other)?;
        self.buffer.extend_from_slice(&number.to_le_bytes());
        Ok(())
    }

    fn branch(&mut self, branch: &Node, children: &[Node]) -> io::Result<()> {
        self.header(branch.id, BRANCH, branch)?;
        let mut at = 0;
        for (place, child) in children.iter().enumerate() {
            self.number((children.len() - place) * ELEMENT + at)?;
            self.number(child.key.len())?;
            self.buffer.extend_from_slice(&child.id.to_le_bytes());
            at += child.key.len();
        }
        children.iter().for_each(|child| self.buffer.extend_from_slice(&child.key));
        self.fill_page()
    }

    /// Fills up to the next page. Hands a piece out when there is enough.
    fn fill_page(&mut self) -> io::Result<()> {
        let filled = self.buffer.len().next_multiple_of(PAGE);
        self.buffer.resize(filled, 0);
        if self.buffer.len() >= PIECE { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.hash.update(&self.buffer);
        self.sent += self.buffer.len() as u64;
        let piece = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE + PAGE));
        (self.emit)(self.total - self.sent, piece.into())
    }
}

/// Writes `frozen` as a database file, followed by its SHA-256 as etcd does, in pieces: `emit` gets the number of
/// bytes of the database that follow, and the piece. Blocks.
///
/// # Errors
/// Those of `emit`.
pub fn write(frozen: &dyn Frozen, mut emit: impl FnMut(u64, Bytes) -> io::Result<()>) -> io::Result<()> {
    let keys = KeyRows::new(frozen);
    let leases = FewRows::leases(frozen.leases());
    let bookkeeping = FewRows::bookkeeping(frozen.revision());
    let none = FewRows::of(Vec::new());
    // In order of name. The empty ones are those that etcd's tools and server expect to find.
    let buckets: [(&[u8], &dyn Rows); 6] = [
        (b"cluster", &none),
        (KEYS, &keys),
        (LEASES, &leases),
        (b"members", &none),
        (b"members_removed", &none),
        (BOOKKEEPING, &bookkeeping),
    ];
    let mut next = FIRST_TREE;
    let trees: Vec<_> = buckets.iter().map(|(_, rows)| Tree::new(*rows, 0, &mut next)).collect();
    let bucket = |((name, _), tree): (&(&[u8], &dyn Rows), &Tree<'_>)| {
        // Page of the root, and a sequence that etcd does not use.
        (name.to_vec(), [tree.root.to_le_bytes(), [0; 8]].concat())
    };
    let names = FewRows::of(buckets.iter().zip(&trees).map(bucket).collect());
    let root = Tree::new(&names, BUCKET, &mut next);

    let total = next * PAGE as u64;
    let mut out = Out { emit: &mut emit, buffer: Vec::new(), hash: Sha256::new(), sent: 0, total };
    for id in 0..2 {
        Header { id, flags: META, count: 0, overflow: 0 }.encode(&mut out.buffer);
        let meta =
            Meta { page_size: PAGE as u32, root: root.root, freelist: 2, pages: next, transaction: id };
        meta.encode(&mut out.buffer);
        out.fill_page()?;
    }
    Header { id: 2, flags: FREELIST, count: 0, overflow: 0 }.encode(&mut out.buffer);
    out.fill_page()?;
    for tree in trees.iter().chain([&root]) {
        tree.write(&mut out)?;
    }
    out.flush()?;
    let digest = Bytes::copy_from_slice(&out.hash.finalize());
    emit(0, digest)
}
