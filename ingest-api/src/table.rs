//! One number for each of very many keys, in memory that is taken once and never grows.

use std::{
    hash::{BuildHasher as _, Hash, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
};

use prometheus_client::metrics::counter::Counter;

/// Microseconds since some beginning.
pub(crate) type Micros = u64;

/// Places that a key may have. Keys that hash to one set compete for them.
const WAYS: usize = 8;

/// Sets that are locked together, in 512 KiB. So large a piece comes from the system as zeros that nobody
/// has touched; smaller ones the allocator clears, and all of them are resident from the start.
const SETS_PER_SHARD: usize = 4096;

/// How many numbers the keys share that find no place of their own. They take 128 KiB.
const SHARED: usize = 16_384;

/// Numbers by key, where a number that lies in the past is the same as none.
///
/// Keys are told apart by 64 bits of a hash that nobody outside can compute. Places are twice as many
/// as the keys it is made for, so that nearly all find one. Who finds none shares the number of
/// others: so a flood from very many keys can neither grow the memory nor free anybody from a limit, as
/// it could if old keys made room for new ones, and who was known before goes on as before. New
/// keys run the risk that others have used up the number they share, for as long as the flood lasts.
///
/// Nothing needs to be tidied up: a place is free once its number has passed.
#[derive(Debug)]
pub(crate) struct Table {
    hasher: RandomState,
    shards: Box<[Mutex<Shard>]>,
    shared: Box<[Mutex<Micros>]>,
    /// Counts uses of shared numbers.
    overflow: Counter,
}

/// The sets of a shard behind each other. A place is a hash and a number; both are zero at first.
#[derive(Debug)]
struct Shard(Vec<[u64; 2]>);

impl Table {
    /// Makes room for some `keys`.
    pub(crate) fn new(keys: usize, overflow: Counter) -> Self {
        let sets = (keys.saturating_mul(2) / WAYS).next_power_of_two();
        let per_shard = sets.min(SETS_PER_SHARD);
        // Zeroed by the system, page by page as it is used.
        let shard = || Mutex::new(Shard(vec![[0; 2]; per_shard * WAYS]));
        Self {
            hasher: RandomState::new(),
            shards: (0..sets / per_shard).map(|_| shard()).collect(),
            shared: (0..SHARED).map(|_| Mutex::default()).collect(),
            overflow,
        }
    }

    /// Replaces the number of `key` with that which `change` makes of it, unless that is an error.
    /// `change` sees zero where there is none.
    pub(crate) fn update<T>(
        &self,
        key: &impl Hash,
        now: Micros,
        change: impl FnOnce(Micros) -> (T, Option<Micros>),
    ) -> T {
        let hash = self.hasher.hash_one(key);
        match self.update_own(hash, now, change) {
            Ok(outcome) => outcome,
            Err(change) => {
                self.overflow.inc();
                let mut number = lock(&self.shared[pick(hash, 16, SHARED)]);
                let (outcome, new) = change(*number);
                if let Some(new) = new {
                    *number = new;
                }
                outcome
            }
        }
    }

    /// The same where a key has a place of its own or finds one; `None` where it does not.
    pub(crate) fn update_unshared<T>(
        &self,
        key: &impl Hash,
        now: Micros,
        change: impl FnOnce(Micros) -> (T, Option<Micros>),
    ) -> Option<T> {
        let outcome = self.update_own(self.hasher.hash_one(key), now, change).ok();
        if outcome.is_none() {
            self.overflow.inc();
        }
        outcome
    }

    /// Gives `change` back where there is no place.
    fn update_own<T, F: FnOnce(Micros) -> (T, Option<Micros>)>(
        &self,
        hash: u64,
        now: Micros,
        change: F,
    ) -> Result<T, F> {
        let mut shard = lock(&self.shards[pick(hash, 0, self.shards.len())]);
        let sets = shard.0.len() / WAYS;
        let first = pick(hash, 32, sets) * WAYS;
        let set = &mut shard.0[first..first + WAYS];

        let known = set.iter().position(|&[it, number]| it == hash && number > now);
        let place = known.or_else(|| set.iter().position(|&[_, number]| number <= now));
        let Some(place) = place else { return Err(change) };
        let (outcome, new) = change(if known.is_some() { set[place][1] } else { 0 });
        if let Some(new) = new {
            set[place] = [hash, new];
        }
        Ok(outcome)
    }

    /// How many keys have a number that has not passed, of those with a place of their own.
    pub(crate) fn len(&self, now: Micros) -> usize {
        let live = |shard: &Mutex<Shard>| lock(shard).0.iter().filter(|it| it[1] > now).count();
        self.shards.iter().map(live).sum()
    }

    /// How many keys can have a place.
    #[cfg(test)]
    fn places(&self) -> usize {
        self.shards.iter().map(|it| lock(it).0.capacity()).sum()
    }
}

/// Different bits of the hash for each: where they are many, few are equal.
fn pick(hash: u64, bits: u32, count: usize) -> usize {
    usize::try_from(hash >> bits & 0xffff_ffff).unwrap_or_default() % count
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whole after every statement under the lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = 1000;
    const LATER: Micros = 2000;

    /// Adds one to a number, which begins at `LATER`.
    fn count(table: &Table, key: u64, now: Micros) -> u64 {
        table.update(&key, now, |number| {
            let new = number.max(LATER) + 1;
            (new - LATER, Some(new))
        })
    }

    #[test]
    fn each_key_has_a_number_of_its_own_until_it_has_passed() {
        let table = Table::new(1000, Counter::default());

        for key in 0..100 {
            assert_eq!(count(&table, key, NOW), 1);
        }
        for key in 0..100 {
            assert_eq!(count(&table, key, NOW), 2);
        }

        assert_eq!((table.len(NOW), table.len(LATER + 2)), (100, 0));
        let look = |now| table.update(&7_u64, now, |number| (number, None));
        assert_eq!((look(NOW), look(LATER + 2)), (LATER + 2, 0));
    }

    #[test]
    fn nearly_every_key_finds_a_place_where_there_are_as_many_as_it_was_made_for() {
        let overflow = Counter::default();
        let table = Table::new(50_000, overflow.clone());

        for key in 0..50_000 {
            count(&table, key, NOW);
        }

        assert!(overflow.get() < 1000, "{} of 50,000 found none", overflow.get());
        assert_eq!(table.len(NOW) as u64 + overflow.get(), 50_000);
    }

    #[test]
    fn five_million_keys_take_no_more_memory_than_those_it_was_made_for() {
        let overflow = Counter::default();
        let table = Table::new(500_000, overflow.clone());
        let (places, bytes) = (table.places(), table.places() * size_of::<[u64; 2]>());
        assert_eq!(bytes, 16 * 1024 * 1024);

        for key in 0..5_000_000 {
            count(&table, key, NOW);
        }

        assert_eq!(table.places(), places, "nothing has grown");
        assert!(table.len(NOW) <= places);
        assert!(overflow.get() >= 5_000_000 - places as u64);
    }

    #[test]
    fn who_is_known_keeps_its_number_however_many_come_after_it() {
        let table = Table::new(1000, Counter::default());
        for _ in 0..5 {
            count(&table, u64::MAX, NOW);
        }

        for key in 0..100_000 {
            count(&table, key, NOW);
        }

        assert_eq!(count(&table, u64::MAX, NOW), 6);
    }

    #[test]
    fn a_key_that_shall_share_no_number_has_none_where_it_finds_no_place() {
        let table = Table::new(1, Counter::default());
        let note = |key: u64| table.update_unshared(&key, NOW, |_| ((), Some(LATER))).is_some();

        let placed = (0..1000).filter(|&key| note(key)).count();

        assert_eq!(placed, table.places());
        assert_eq!((0..1000).filter(|&key| note(key)).count(), placed, "the same again");
    }

    #[test]
    fn a_key_without_a_place_has_a_number_all_the_same() {
        let overflow = Counter::default();
        let table = Table::new(1, overflow.clone());
        for key in 0..1000 {
            count(&table, key, NOW);
        }

        let before = overflow.get();
        let counts = [5000, 5000, 5000].map(|key| count(&table, key, NOW));

        assert_eq!(counts, [counts[0], counts[0] + 1, counts[0] + 2]);
        assert_eq!(overflow.get(), before + 3);
    }
}
