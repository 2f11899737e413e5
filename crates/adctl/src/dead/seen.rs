//! What was met already, in bounded memory.

use std::{
    collections::{HashSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher as _},
};

/// How much is remembered at most: some 50 MB. Beyond that the oldest is forgotten, and what was
/// forgotten counts as new. Copies of a dead letter are written one soon after the other.
const CAPACITY: usize = 500_000;

/// Remembers what it was shown, as 128 bits of a hash each.
#[derive(Debug, Default)]
pub(super) struct Seen {
    known: HashSet<u128>,
    order: VecDeque<u128>,
}

impl Seen {
    /// Whether `thing` is shown for the first time.
    pub(super) fn is_new(&mut self, thing: &impl Hash) -> bool {
        let half = |number: u8| {
            let mut hasher = DefaultHasher::new();
            (number, thing).hash(&mut hasher);
            u128::from(hasher.finish())
        };
        let id = half(0) << 64 | half(1);
        if !self.known.insert(id) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > CAPACITY
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_oldest_is_forgotten() {
        let mut seen = Seen::default();

        assert!(seen.is_new(&"first"));
        assert!(!seen.is_new(&"first"));
        assert!((0..CAPACITY).all(|it| seen.is_new(&it)));
        assert!(!seen.is_new(&0_usize));
        assert!(seen.is_new(&"first"));
        assert_eq!((seen.known.len(), seen.order.len()), (CAPACITY, CAPACITY));
    }
}
