//! [`Bitmap`]: which numbers of a range are in use, in the form that RangeAllocation objects have always had: the bytes
//! of one big number, the highest first, in which bit N is number N.

use super::{Refused, find_free};

/// Which numbers are in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bitmap {
    /// Lowest byte first.
    bytes: Vec<u8>,
    size: usize,
    low: usize,
}

impl Bitmap {
    /// `size` numbers, of which the first `low` are chosen last; none is in use.
    pub(super) fn new(size: usize, low: usize) -> Self {
        Self { bytes: vec![0; size.div_ceil(8)], size, low }
    }

    /// The same with the numbers that `data` says are in use; what lies outside the range is dropped.
    pub(super) fn with_data(mut self, data: &[u8]) -> Self {
        let shared = data.len().min(self.bytes.len());
        for (to, from) in self.bytes.iter_mut().zip(data.iter().rev().take(shared)) {
            *to = *from;
        }
        self
    }

    /// As it is stored.
    pub(super) fn data(&self) -> Vec<u8> {
        let used = self.bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        self.bytes[..used].iter().rev().copied().collect()
    }

    pub(super) fn has(&self, at: usize) -> bool {
        at < self.size && self.bytes[at / 8] & (1 << (at % 8)) != 0
    }

    /// Takes one number.
    pub(super) fn take(&mut self, at: usize) -> Result<usize, Refused> {
        if at >= self.size {
            return Err(Refused::OutOfRange);
        }
        if self.has(at) {
            return Err(Refused::Taken);
        }
        self.bytes[at / 8] |= 1 << (at % 8);
        Ok(at)
    }

    /// Takes any number.
    pub(super) fn take_any(&mut self) -> Result<usize, Refused> {
        let free = find_free(self.size, self.low, |at| self.has(at)).ok_or(Refused::Full)?;
        self.take(free)
    }

    /// Gives a number back.
    pub(super) fn give_back(&mut self, at: usize) {
        if at < self.size {
            self.bytes[at / 8] &= !(1 << (at % 8));
        }
    }

    /// All numbers in use.
    pub(super) fn used(&self) -> impl Iterator<Item = usize> {
        (0..self.size).filter(|at| self.has(*at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_is_a_big_number() {
        let mut map = Bitmap::new(20, 4);
        assert!(map.data().is_empty());
        for at in [0, 9] {
            map.take(at).unwrap();
        }
        assert_eq!(map.data(), [0b10, 0b1]);
        let again = Bitmap::new(20, 4).with_data(&map.data());
        assert_eq!(again.used().collect::<Vec<_>>(), [0, 9]);
        // More than fits, and less.
        assert_eq!(Bitmap::new(8, 0).with_data(&map.data()).used().collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn numbers_are_taken_once() {
        let mut map = Bitmap::new(10, 4);
        assert_eq!(map.take(5), Ok(5));
        assert_eq!(map.take(5), Err(Refused::Taken));
        assert_eq!(map.take(10), Err(Refused::OutOfRange));
        for _ in 0..9 {
            map.take_any().unwrap();
        }
        assert_eq!(map.take_any(), Err(Refused::Full));
        map.give_back(2);
        assert_eq!(map.take_any(), Ok(2));
    }
}
