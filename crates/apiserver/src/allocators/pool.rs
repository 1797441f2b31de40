//! [`Pool`]: which numbers of a range are in use.

use parking_lot::Mutex;

/// Why a number was not given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is not in the range.
    OutOfRange,
    /// Someone has it.
    Taken,
    /// None is left.
    Full,
}

/// A range of numbers, counted from 0, and which are in use. Numbers asked for by value come from anywhere; those
/// chosen by the pool come from the upper part first, so that the lower one stays free for the former (KEP-3070).
pub(super) struct Pool {
    /// Numbers below this are chosen last.
    low: usize,
    size: usize,
    used: Mutex<Used>,
}

struct Used {
    bits: Vec<u64>,
    count: usize,
}

impl Used {
    fn get(&self, at: usize) -> bool {
        self.bits[at / 64] & (1 << (at % 64)) != 0
    }

    fn set(&mut self, at: usize, used: bool) {
        if self.get(at) == used {
            return;
        }
        self.bits[at / 64] ^= 1 << (at % 64);
        if used {
            self.count += 1;
        } else {
            self.count -= 1;
        }
    }
}

impl Pool {
    /// `size` numbers, of which the first `low` are chosen last.
    pub(super) fn new(size: usize, low: usize) -> Self {
        let used = Used { bits: vec![0; size.div_ceil(64).max(1)], count: 0 };
        Self { low: low.min(size), size, used: Mutex::new(used) }
    }

    /// Takes one number.
    pub(super) fn take(&self, at: usize) -> Result<(), Refused> {
        if at >= self.size {
            return Err(Refused::OutOfRange);
        }
        let mut used = self.used.lock();
        if used.get(at) {
            return Err(Refused::Taken);
        }
        used.set(at, true);
        Ok(())
    }

    /// Takes any number, at random so that one that was just given back is not given out at once.
    pub(super) fn take_any(&self) -> Result<usize, Refused> {
        let mut used = self.used.lock();
        if used.count >= self.size {
            return Err(Refused::Full);
        }
        for (from, to) in [(self.low, self.size), (0, self.low)] {
            let len = to - from;
            if len == 0 {
                continue;
            }
            let start = rand::random_range(0..len);
            let free = (0..len).map(|step| from + (start + step) % len).find(|at| !used.get(*at));
            if let Some(at) = free {
                used.set(at, true);
                return Ok(at);
            }
        }
        Err(Refused::Full)
    }

    /// Gives a number back.
    pub(super) fn give_back(&self, at: usize) {
        if at < self.size {
            self.used.lock().set(at, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_given_out_once_and_the_low_ones_last() {
        let pool = Pool::new(10, 4);
        assert_eq!(pool.take(5), Ok(()));
        assert_eq!(pool.take(5), Err(Refused::Taken));
        assert_eq!(pool.take(10), Err(Refused::OutOfRange));
        let mut upper: Vec<usize> = (0..5).map(|_| pool.take_any().unwrap()).collect();
        upper.sort_unstable();
        assert_eq!(upper, [4, 6, 7, 8, 9]);
        let mut lower: Vec<usize> = (0..4).map(|_| pool.take_any().unwrap()).collect();
        lower.sort_unstable();
        assert_eq!(lower, [0, 1, 2, 3]);
        assert_eq!(pool.take_any(), Err(Refused::Full));
        pool.give_back(2);
        assert_eq!(pool.take_any(), Ok(2));
    }
}
