//! What a lane of chaos does next, which its seed decides.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};

/// How long a fault lasts, where it lasts: from an instant to longer than Kafka misses a member (10 s).
const LASTING_MS: std::ops::Range<u64> = 200..14_000;

/// Between two faults of one lane, in milliseconds.
const REST_MS: std::ops::Range<u64> = 200..5_000;

/// One fault of a lane.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Step<F> {
    /// How long the lane leaves things alone before.
    pub(super) rest: Duration,
    pub(super) fault: F,
    pub(super) lasting: Duration,
    /// Any number, for a fault that has a choice.
    pub(super) choice: usize,
}

/// The steps of one lane, without an end. Like cards: each fault comes once before any comes twice.
#[derive(Debug)]
pub(super) struct Deck<F> {
    random: StdRng,
    faults: Vec<F>,
    left: Vec<F>,
}

impl Deck<()> {
    /// A deck without faults yet; lanes of one seed differ.
    pub(super) fn new(seed: u64, lane: u8) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8] = lane;
        Self { random: StdRng::from_seed(bytes), faults: Vec::new(), left: Vec::new() }
    }

    pub(super) fn of<F>(self, faults: Vec<F>) -> Deck<F> {
        Deck { random: self.random, faults, left: Vec::new() }
    }
}

impl<F: Copy> Iterator for Deck<F> {
    type Item = Step<F>;

    fn next(&mut self) -> Option<Step<F>> {
        if self.left.is_empty() {
            self.left.clone_from(&self.faults);
            self.left.shuffle(&mut self.random);
        }
        let fault = self.left.pop()?;
        Some(Step {
            rest: Duration::from_millis(self.random.random_range(REST_MS)),
            fault,
            lasting: Duration::from_millis(self.random.random_range(LASTING_MS)),
            choice: self.random.random_range(0..1_000_000),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(seed: u64, lane: u8) -> Vec<Step<char>> {
        Deck::new(seed, lane).of(vec!['a', 'b', 'c']).take(9).collect()
    }

    #[test]
    fn a_seed_gives_the_same_steps_again_and_another_others() {
        assert_eq!(steps(7, 0), steps(7, 0));
        assert_ne!(steps(7, 0), steps(8, 0));
        assert_ne!(steps(7, 0), steps(7, 1));
    }

    #[test]
    fn each_fault_comes_once_before_any_comes_twice() {
        for round in steps(7, 0).chunks(3) {
            let mut faults: Vec<_> = round.iter().map(|it| it.fault).collect();
            faults.sort_unstable();
            assert_eq!(faults, ['a', 'b', 'c']);
        }
    }
}
