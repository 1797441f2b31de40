//! Allocation of cluster IPs and node ports: no two Services ever get the same one, whichever of several API servers
//! they are created through.
//!
//! Nothing is decided in memory. An address is reserved by creating the IPAddress object of that name, as upstream has
//! done since 1.33 (KEP-1880); a port by compare-and-swap of the bitmap at `/registry/ranges/servicenodeports`. Both
//! happen before the Service is committed and are undone when it is not. What a crash leaves behind, `repair` finds.
//! Deliberately absent: further ServiceCIDRs, and ranges of IPv6 (see GAPS.md).

mod addresses;
mod bitmap;
mod ports;
mod repair;
mod services;

pub(crate) use services::Services;

/// Why something was not given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    /// It is not in the range.
    OutOfRange,
    /// Someone has it.
    Taken,
    /// None is left.
    Full,
}

/// A refusal, or the failure of the store.
#[derive(Debug)]
enum Failure {
    Refused(Refused),
    Store(Box<machinery::Status>),
}

impl From<machinery::Status> for Failure {
    fn from(status: machinery::Status) -> Self {
        Self::Store(Box::new(status))
    }
}

/// Numbers below the result are chosen last: they stay free for those who ask by number (KEP-3070).
fn low(size: usize, part: usize, most: usize) -> usize {
    if size < 16 { 0 } else { (size / part).clamp(16, most) }
}

/// Looks for a free one of `size` numbers, at random so that one that was just given back is not given out at once:
/// above `low` first.
fn find_free(size: usize, low: usize, is_used: impl Fn(usize) -> bool) -> Option<usize> {
    [(low, size), (0, low)].into_iter().find_map(|(from, to)| {
        let len = to.checked_sub(from).filter(|len| *len > 0)?;
        let start = rand::random_range(0..len);
        (0..len).map(|step| from + (start + step) % len).find(|at| !is_used(*at))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_given_out_once_and_the_low_ones_last() {
        let mut used = [false; 10];
        let mut order = Vec::new();
        while let Some(at) = find_free(10, 4, |at| used[at]) {
            assert!(!std::mem::replace(&mut used[at], true));
            order.push(at);
        }
        assert!(order[..6].iter().all(|at| *at >= 4), "{order:?}");
        assert_eq!(order.len(), 10);
    }
}
