//! Shuffle sharding: which queues a flow may use, dealt like cards from a hash (API priority and fairness, "Queuing").
//!
//! Two flows share every one of their queues only with a tiny probability, so that one busy flow leaves others a
//! queue of their own. Deliberately absent: choosing among the hand.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Cards that a hand may have (the API allows no hand for which 64 bits of hash would not do).
const MAX_HAND: usize = 16;

/// The hash of a flow: its schema and what distinguishes it there.
pub(super) fn hash(schema: &str, distinguisher: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    schema.hash(&mut hasher);
    distinguisher.hash(&mut hasher);
    hasher.finish()
}

/// Calls `each` with `hand` different cards of a deck of `deck`.
pub(super) fn deal(mut hash: u64, deck: usize, hand: usize, mut each: impl FnMut(usize)) {
    let hand = hand.min(deck).min(MAX_HAND);
    // Ascending; every card is dealt from those that are left, so it moves up past each smaller one.
    let mut dealt = [usize::MAX; MAX_HAND];
    for at in 0..hand {
        let left = (deck - at) as u64;
        let mut card = usize::try_from(hash % left).unwrap_or(0);
        hash /= left;
        let mut place = 0;
        while place < at && dealt[place] <= card {
            card += 1;
            place += 1;
        }
        dealt.copy_within(place..at, place + 1);
        dealt[place] = card;
        each(card);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hand(hash: u64, deck: usize, size: usize) -> Vec<usize> {
        let mut cards = Vec::new();
        deal(hash, deck, size, |card| cards.push(card));
        cards
    }

    #[test]
    fn cards_are_different_and_of_the_deck() {
        for seed in 0..2_000_u64 {
            let mut cards = hand(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15), 64, 6);
            assert!(cards.iter().all(|card| *card < 64));
            cards.sort_unstable();
            cards.dedup();
            assert_eq!(cards.len(), 6, "seed {seed}");
        }
        assert_eq!(hand(7, 3, 8).len(), 3, "no more cards than the deck has");
        assert_eq!(hand(7, 1, 1), [0]);
    }

    #[test]
    fn every_queue_is_used() {
        let mut seen = [0_u32; 16];
        for user in 0..4_000 {
            deal(hash("schema", &format!("user-{user}")), 16, 4, |card| seen[card] += 1);
        }
        assert!(seen.iter().all(|count| (800..1200).contains(count)), "{seen:?}");
    }
}
