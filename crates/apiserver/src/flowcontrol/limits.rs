//! How the server's seats are divided among priority levels: nominal limits by shares, and, every ten seconds, what
//! the idle lend to the busy (KEP-1040, "Dynamic limits").
//!
//! Deliberately absent: queues, requests, time. These are pure functions of what is configured and was seen.

/// How much of the old demand a period keeps.
const DECAY: f64 = 0.977;

/// What a priority level is configured to have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) shares: i32,
    pub(super) lendable_percent: i32,
    /// `None`: as much as there is.
    pub(super) borrowing_percent: Option<i32>,
}

/// What that makes in seats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) nominal: u32,
    pub(super) lower: u32,
    pub(super) upper: u32,
}

fn seats(value: f64) -> u32 {
    // Seats are far below 2^32; anything else is a mistake of the configuration and saturates.
    if value >= f64::from(u32::MAX) { u32::MAX } else { value.max(0.0) as u32 }
}

/// Divides `total` seats by shares, rounding up.
pub(super) fn nominal(total: u32, wishes: &[Wish]) -> Vec<Bounds> {
    let sum: f64 = wishes.iter().map(|wish| f64::from(wish.shares.max(0))).sum();
    let bounds = |wish: &Wish| {
        let part = if sum > 0.0 { f64::from(wish.shares.max(0)) / sum } else { 0.0 };
        let nominal = seats((f64::from(total) * part).ceil());
        let percent = |percent: i32| seats((f64::from(nominal) * f64::from(percent.max(0)) / 100.0).round());
        let upper = match wish.borrowing_percent {
            Some(limit) => nominal.saturating_add(percent(limit)),
            None => total.max(nominal),
        };
        Bounds { nominal, lower: nominal.saturating_sub(percent(wish.lendable_percent)), upper }
    };
    wishes.iter().map(bounds).collect()
}

/// What a level asked for during a period.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Demand {
    pub(super) average: f64,
    pub(super) deviation: f64,
    pub(super) high: u32,
}

/// The demand that counts: rises at once, falls slowly.
pub(super) fn smooth(before: f64, demand: Demand) -> f64 {
    let envelope = (demand.average + demand.deviation).min(f64::from(demand.high));
    envelope.max(DECAY * before + (1.0 - DECAY) * envelope)
}

/// One level's part in the division.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) bounds: Bounds,
    pub(super) high: u32,
    pub(super) smooth: f64,
}

/// The current limits: nobody gets less than its lower bound or, while it wants it, its nominal limit; the rest is
/// divided in proportion to demand. Also the factor of that proportion.
pub(super) fn share(total: u32, claims: &[Claim]) -> (Vec<u32>, f64) {
    let least: Vec<f64> = claims
        .iter()
        .map(|claim| f64::from(claim.bounds.lower.max(claim.bounds.nominal.min(claim.high))))
        .collect();
    let target = |at: usize| claims[at].smooth.max(least[at]);
    let limit = |at: usize, factor: f64| {
        (factor * target(at)).max(least[at]).min(f64::from(claims[at].bounds.upper).max(least[at]))
    };
    let sum = |factor: f64| (0..claims.len()).map(|at| limit(at, factor)).sum::<f64>();
    let (mut low, mut high) = (0.0, 1.0);
    while sum(high) < f64::from(total) && high < 1e9 {
        high *= 2.0;
    }
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if sum(middle) < f64::from(total) { low = middle } else { high = middle }
    }
    ((0..claims.len()).map(|at| seats(limit(at, high).round()).max(1)).collect(), high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_defaults_divide_as_upstream_says() {
        let level = |shares, lendable_percent| Wish { shares, lendable_percent, borrowing_percent: None };
        // catch-all, global-default, leader-election, node-high, system, workload-high, workload-low
        let wishes = [
            level(5, 0),
            level(20, 50),
            level(10, 0),
            level(40, 25),
            level(30, 33),
            level(40, 50),
            level(100, 90),
        ];
        let bounds = nominal(600, &wishes);
        let nominal: Vec<u32> = bounds.iter().map(|b| b.nominal).collect();
        assert_eq!(nominal, [13, 49, 25, 98, 74, 98, 245]);
        let lower: Vec<u32> = bounds.iter().map(|b| b.lower).collect();
        assert_eq!(lower, [13, 24, 25, 73, 50, 49, 24]);
        assert!(bounds.iter().all(|b| b.upper == 600));
        let bounded = Wish { borrowing_percent: Some(50), ..level(10, 0) };
        assert_eq!(super::nominal(100, &[bounded, level(10, 0)])[0].upper, 75);
    }

    #[test]
    fn the_idle_lend_and_get_back() {
        let bounds = |nominal, lower| Bounds { nominal, lower, upper: 100 };
        let idle = Claim { bounds: bounds(50, 10), high: 0, smooth: 0.0 };
        let busy = Claim { bounds: bounds(50, 10), high: 500, smooth: 500.0 };
        assert_eq!(share(100, &[idle, busy]).0, [10, 90]);
        assert_eq!(share(100, &[busy, busy]).0, [50, 50]);
        let returned = Claim { high: 60, smooth: 60.0, ..idle };
        assert_eq!(share(100, &[returned, busy]).0, [50, 50]);
        let capped = Claim { bounds: Bounds { upper: 60, ..bounds(50, 10) }, ..busy };
        assert_eq!(share(100, &[idle, capped]).0[1], 60);
        assert_eq!(share(100, &[]).0, Vec::<u32>::new());
    }

    #[test]
    fn demand_rises_at_once_and_falls_slowly() {
        let busy = Demand { average: 80.0, deviation: 10.0, high: 85 };
        assert!((smooth(0.0, busy) - 85.0).abs() < 1e-9);
        let later = smooth(85.0, Demand::default());
        assert!(later > 80.0 && later < 85.0, "{later}");
    }
}
