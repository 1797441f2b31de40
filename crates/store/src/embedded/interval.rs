//! [`Intervals`]: which ranges contain a key, in time logarithmic in the number of ranges plus the number found.
//!
//! The ranges are sorted by start; in the implicit balanced tree over that order each node knows the largest end
//! below it. Built at once, never changed.

use super::view::Keys;
use bytes::Bytes;

/// Distinct ranges, sorted by start.
#[derive(Debug, Default)]
pub(crate) struct Intervals {
    ranges: Vec<Keys>,
    /// Largest end in the subtree whose root is at this place; `None` is the end of the key space.
    largest: Vec<Option<Bytes>>,
}

/// The end of a range as a bound to compare with; `None` is the end of the key space.
fn end_of(keys: &Keys) -> Option<Bytes> {
    if !keys.single {
        return keys.end.clone();
    }
    let mut end = keys.start.to_vec();
    end.push(0);
    Some(end.into())
}

fn later(a: Option<Bytes>, b: Option<Bytes>) -> Option<Bytes> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.max(b)),
        _ => None,
    }
}

impl Intervals {
    /// From distinct ranges; sorts them.
    pub(crate) fn new(mut ranges: Vec<Keys>) -> Self {
        ranges.sort_unstable_by(|a, b| a.start.cmp(&b.start));
        let mut built = Self { largest: vec![Some(Bytes::new()); ranges.len()], ranges };
        built.build(0, built.ranges.len());
        built
    }

    /// The ranges in their order here: what [`Intervals::find`] calls them by.
    pub(crate) fn ranges(&self) -> &[Keys] {
        &self.ranges
    }

    fn build(&mut self, from: usize, to: usize) -> Option<Bytes> {
        if from == to {
            return Some(Bytes::new());
        }
        let root = from + (to - from) / 2;
        let below = later(self.build(from, root), self.build(root + 1, to));
        self.largest[root] = later(below, end_of(&self.ranges[root]));
        self.largest[root].clone()
    }

    /// Calls `found` with the place of each range that contains `key`.
    pub(crate) fn find(&self, key: &[u8], found: &mut impl FnMut(usize)) {
        self.search(0, self.ranges.len(), key, found);
    }

    fn search(&self, from: usize, to: usize, key: &[u8], found: &mut impl FnMut(usize)) {
        if from == to {
            return;
        }
        let root = from + (to - from) / 2;
        if self.largest[root].as_ref().is_some_and(|end| &end[..] <= key) {
            return;
        }
        self.search(from, root, key, found);
        if &self.ranges[root].start[..] <= key {
            if self.ranges[root].contains(key) {
                found(root);
            }
            self.search(root + 1, to, key, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::disk::memory::Random;
    use super::*;

    #[test]
    fn finds_what_a_scan_finds() {
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let mut key = || Bytes::from(vec![b'a' + random.below(6) as u8, b'a' + random.below(6) as u8]);
            let mut ranges: Vec<Keys> = Vec::new();
            for at in 0..20 {
                let end = [None, Some(Bytes::from_static(b"\0")), Some(key()), Some(key())][at % 4].clone();
                let keys = Keys::new(key(), end);
                if !ranges.contains(&keys) {
                    ranges.push(keys);
                }
            }
            let index = Intervals::new(ranges);
            for _ in 0..30 {
                let key = key();
                let mut found = Vec::new();
                index.find(&key, &mut |at| found.push(at));
                let expected: Vec<_> =
                    (0..index.ranges().len()).filter(|at| index.ranges()[*at].contains(&key)).collect();
                assert_eq!(found, expected, "seed {seed}");
            }
        }
    }
}
