//! The moment of an event.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment in UTC, to the microsecond, from 1970 to the end of 2199.
///
/// The bounds keep a stray number from making table partitions in the year 290,000.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 2200-01-01T00:00:00Z, the first moment that is out of range.
    const END_MICROS: i64 = 7_258_118_400_000_000;

    /// Returns `None` outside 1970 to 2199.
    pub fn from_micros(micros: i64) -> Option<Self> {
        (0..Self::END_MICROS).contains(&micros).then_some(Self(micros))
    }

    /// The current time by this machine's clock.
    ///
    /// A clock that stands outside 1970 to 2199 is taken for the nearer end, so that its events are
    /// refused for their age and not by a crash.
    pub fn now() -> Self {
        Self::saturating_from(SystemTime::now())
    }

    fn saturating_from(time: SystemTime) -> Self {
        let micros = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_micros();
        Self(i64::try_from(micros).unwrap_or(i64::MAX).min(Self::END_MICROS - 1))
    }

    /// Microseconds since 1970.
    pub fn as_micros(self) -> i64 {
        self.0
    }

    /// Milliseconds since 1970, rounded down.
    pub fn as_millis(self) -> i64 {
        self.0 / 1000
    }

    /// How much later this is than `earlier`; zero where it is not later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        UNIX_EPOCH + Duration::from_micros(time.0.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_lies_between_1970_and_2199() {
        assert!(Timestamp::from_micros(-1).is_none());
        assert!(Timestamp::from_micros(Timestamp::END_MICROS).is_none());
        assert!(Timestamp::from_micros(Timestamp::END_MICROS - 1).is_some());
    }

    #[test]
    fn the_time_between_is_never_negative() {
        let (early, late) = (Timestamp(1_000_000), Timestamp(3_500_000));

        assert_eq!(late.since(early), Duration::from_millis(2500));
        assert_eq!(early.since(late), Duration::ZERO);
    }
}
