//! How many requests an address may make, in bounded memory.

use std::{
    net::{IpAddr, Ipv4Addr},
    num::NonZeroUsize,
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{
        InMemoryState, NotKeyed, StateStore,
        keyed::{DashMapStateStore, ShrinkableKeyedStateStore},
    },
};
use prometheus_client::metrics::counter::Counter;
use tokio_util::sync::CancellationToken;

use crate::config::Limit;

/// How often addresses whose burst is whole again are forgotten.
const TIDY_EVERY: Duration = Duration::from_secs(10);

/// How many buckets the addresses beyond the cap share. They take 128 KiB for each limiter.
const SHARED_BUCKETS: usize = 16_384;

/// Tells for each address whether it may go on. Cloning is not needed: it is shared by reference.
pub(crate) struct AddressLimiter<C: Clock = DefaultClock> {
    limiter: RateLimiter<Key, Buckets, C, NoOpMiddleware<C::Instant>>,
}

impl AddressLimiter {
    /// Remembers at most `max_keys` addresses; what happens beyond is counted in `overflow`.
    pub(crate) fn new(limit: Limit, max_keys: NonZeroUsize, overflow: Counter) -> Self {
        Self::with_clock(limit, max_keys, overflow, DefaultClock::default())
    }
}

impl<C: Clock> AddressLimiter<C> {
    fn with_clock(limit: Limit, max_keys: NonZeroUsize, overflow: Counter, clock: C) -> Self {
        let quota = Quota::per_minute(limit.per_minute).allow_burst(limit.burst);
        let buckets = Buckets {
            known: DashMapStateStore::default(),
            max_known: max_keys.get(),
            shared: (0..SHARED_BUCKETS).map(|_| InMemoryState::default()).collect(),
            overflow,
        };
        Self { limiter: RateLimiter::new(quota, buckets, clock) }
    }

    /// Takes one request of `address` off its allowance.
    ///
    /// # Errors
    ///
    /// Where nothing is left: how long until there is. The request costs nothing then.
    pub(crate) fn admit(&self, address: IpAddr) -> Result<(), Duration> {
        self.limiter
            .check_key(&Key::of(address))
            .map_err(|until| until.wait_time_from(self.limiter.clock().now()))
    }

    /// How many addresses are remembered.
    pub(crate) fn keys(&self) -> usize {
        self.limiter.len()
    }

    /// Forgets the addresses that have their whole burst again, and gives their memory back.
    fn tidy(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }
}

/// Keeps the limiters small until `shutdown` is cancelled; nothing else makes them forget.
pub(crate) async fn keep_tidy<const N: usize>(
    limiters: [&AddressLimiter; N],
    shutdown: CancellationToken,
) {
    let mut ticks = tokio::time::interval(TIDY_EVERY);
    // Both are cancel safe.
    while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
        for limiter in limiters {
            limiter.tidy();
        }
    }
}

/// What shares one allowance: an IPv4 address, or an IPv6 /64, which is the least that a household
/// or a server gets and all of which one machine can use.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Key {
    V4(Ipv4Addr),
    V6([u16; 4]),
}

impl Key {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(it) => Self::V4(it),
            IpAddr::V6(it) => {
                let [a, b, c, d, ..] = it.segments();
                Self::V6([a, b, c, d])
            }
        }
    }
}

/// A bucket for each key, up to a cap. Beyond it, keys that have none share those of a fixed set.
///
/// So a flood from very many addresses cannot grow the memory. It cannot reset anybody's allowance
/// either, as it could if old keys made room for new ones, and who was known before goes on as
/// before. New addresses run the risk that others have emptied the bucket they fall into, for as
/// long as the flood lasts.
struct Buckets {
    known: DashMapStateStore<Key>,
    /// Can be passed by as many keys as there are threads.
    max_known: usize,
    shared: Box<[InMemoryState]>,
    /// Counts requests that were measured by a shared bucket.
    overflow: Counter,
}

impl StateStore for Buckets {
    type Key = Key;

    fn measure_and_replace<T, F, E>(&self, key: &Key, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let has_its_own = self.known.contains_key(key) || self.known.len() < self.max_known;
        if has_its_own {
            return self.known.measure_and_replace(key, measure);
        }
        self.overflow.inc();
        // Hashed with the map's random keys, so that nobody can choose whom to share with.
        let bucket = self.known.hash_usize(key) % self.shared.len();
        self.shared[bucket].measure_and_replace(&NotKeyed::NonKey, measure)
    }
}

impl ShrinkableKeyedStateStore<Key> for Buckets {
    fn retain_recent(&self, drop_below: Nanos) {
        self.known.retain_recent(drop_below);
    }

    fn shrink_to_fit(&self) {
        self.known.shrink_to_fit();
    }

    fn len(&self) -> usize {
        self.known.len()
    }

    fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use governor::clock::FakeRelativeClock;

    use super::*;

    fn limiter(
        per_minute: u32,
        burst: u32,
        max_keys: usize,
    ) -> (AddressLimiter<FakeRelativeClock>, FakeRelativeClock, Counter) {
        let (clock, overflow) = (FakeRelativeClock::default(), Counter::default());
        let positive = |it| NonZeroU32::new(it).expect("positive");
        let limit = Limit { per_minute: positive(per_minute), burst: positive(burst) };
        let max_keys = NonZeroUsize::new(max_keys).expect("positive");
        let limiter = AddressLimiter::with_clock(limit, max_keys, overflow.clone(), clock.clone());
        (limiter, clock, overflow)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn nth(n: u32) -> IpAddr {
        Ipv4Addr::from_bits(n).into()
    }

    #[test]
    fn an_address_has_its_burst_and_then_its_rate() {
        let (limiter, clock, _) = limiter(10, 3, 100);
        let address = ip("192.0.2.1");

        for _ in 0..3 {
            assert_eq!(limiter.admit(address), Ok(()));
        }
        assert_eq!(limiter.admit(address), Err(Duration::from_secs(6)));
        clock.advance(Duration::from_secs(6));
        assert_eq!(limiter.admit(address), Ok(()));
        assert!(limiter.admit(address).is_err());
    }

    #[test]
    fn one_address_does_not_use_up_what_another_has() {
        let (limiter, _, _) = limiter(10, 1, 100);

        assert_eq!(limiter.admit(ip("192.0.2.1")), Ok(()));
        assert!(limiter.admit(ip("192.0.2.1")).is_err());
        assert_eq!(limiter.admit(ip("192.0.2.2")), Ok(()));
        assert_eq!(limiter.keys(), 2);
    }

    #[test]
    fn ipv6_addresses_of_one_64_share_an_allowance() {
        let (limiter, _, _) = limiter(10, 1, 100);

        assert_eq!(limiter.admit(ip("2001:db8:0:1::1")), Ok(()));
        assert!(limiter.admit(ip("2001:db8:0:1:ffff::2")).is_err());
        assert_eq!(limiter.admit(ip("2001:db8:0:2::1")), Ok(()));
    }

    #[test]
    fn an_ipv4_address_in_ipv6_form_is_the_ipv4_one() {
        let (limiter, _, _) = limiter(10, 1, 100);

        assert_eq!(limiter.admit(ip("192.0.2.1")), Ok(()));
        assert!(limiter.admit(ip("::ffff:192.0.2.1")).is_err());
    }

    #[test]
    fn an_address_is_forgotten_once_its_burst_is_whole() {
        let (limiter, clock, _) = limiter(10, 10, 100);
        for _ in 0..10 {
            limiter.admit(ip("192.0.2.1")).expect("within the burst");
        }
        limiter.admit(ip("192.0.2.2")).expect("within the burst");

        clock.advance(Duration::from_secs(30));
        limiter.tidy();
        assert_eq!(limiter.keys(), 1);

        clock.advance(Duration::from_mins(1));
        limiter.tidy();
        assert_eq!(limiter.keys(), 0);
    }

    #[test]
    fn a_flood_from_many_addresses_neither_grows_the_memory_nor_frees_or_locks_out_the_known() {
        let (limiter, _, overflow) = limiter(10, 2, 1000);
        let (quiet, noisy) = (ip("2001:db8::1"), ip("2001:db8:1::1"));
        limiter.admit(quiet).expect("within the burst");
        for _ in 0..2 {
            limiter.admit(noisy).expect("within the burst");
        }

        for n in 0..200_000 {
            let _either_way = limiter.admit(nth(n));
        }

        assert_eq!(limiter.keys(), 1000);
        assert_eq!(overflow.get(), 200_000 - 998);
        assert_eq!(limiter.admit(quiet), Ok(()));
        assert!(limiter.admit(noisy).is_err());
    }

    #[test]
    fn beyond_the_cap_addresses_are_still_limited() {
        let (limiter, _, _) = limiter(10, 2, 1);
        limiter.admit(nth(1)).expect("within the burst");

        assert_eq!(limiter.admit(nth(2)), Ok(()));
        assert_eq!(limiter.admit(nth(2)), Ok(()));
        assert!(limiter.admit(nth(2)).is_err());
        let admitted = (100..1100).filter(|&n| limiter.admit(nth(n)).is_ok()).count();
        assert!(admitted > 800, "most of a thousand others find an untouched bucket: {admitted}");
    }
}
