//! What makes two records the same event. Computed once, at ingest; everybody else reads it.

use std::{fmt, net::IpAddr, time::Duration};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::{AdId, EventId, Kind, Timestamp};

/// Set apart from every other use of the hash, and from a later version of this one.
const DOMAIN: &[u8] = b"ads.events.v1/dedup\0";

/// The same for names of what is no event.
const PSEUDONYM_DOMAIN: &[u8] = b"ads/pseudonym\0";

/// 128 bits that are the same for the same event and for nothing else.
///
/// The first half of a SHA-256: a player chooses part of the input, and a weaker hash would let it
/// make its event collide with, and so suppress, another's. Two of 10^15 honest events collide with
/// a chance below 10^-8 (birthday bound).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DedupKey([u8; 16]);

impl DedupKey {
    /// Hashes what identifies an event.
    ///
    /// The input is unambiguous: every part has a fixed length, or its length before it. It never
    /// changes: `tests` below hold vectors that other languages can check themselves against.
    pub fn compute(kind: Kind, ad: AdId, identity: &Identity<'_>, time: DedupTime) -> Self {
        let mut hash = Sha256::new();
        feed(kind, ad, identity, time, |part| hash.update(part));
        Self(first_half(hash.finalize().into()))
    }

    /// Hashes the same with a secret, for a viewer whose address nobody may learn.
    ///
    /// Everything else of the input travels beside the key, and there are only 2^32 IPv4 addresses:
    /// whoever has an event could try them all, and find the one that gives its unkeyed hash.
    pub fn compute_keyed(
        secret: &DedupSecret,
        kind: Kind,
        ad: AdId,
        identity: &Identity<'_>,
        time: DedupTime,
    ) -> Self {
        let mut hash = secret.0.clone();
        feed(kind, ad, identity, time, |part| hash.update(part));
        Self(first_half(hash.finalize().into_bytes().into()))
    }

    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Hands out the hash's input, part by part.
fn feed(
    kind: Kind,
    ad: AdId,
    identity: &Identity<'_>,
    time: DedupTime,
    mut part: impl FnMut(&[u8]),
) {
    part(DOMAIN);
    part(&[kind.wire_number()]);
    part(&ad.get().to_be_bytes());
    part(&time.as_millis().to_be_bytes());
    match identity {
        Identity::EventId(id) => {
            part(&[1]);
            part(id.as_str().as_bytes());
        }
        Identity::Address(IpAddr::V4(it)) => {
            part(&[4]);
            part(&it.octets());
        }
        Identity::Address(IpAddr::V6(it)) => {
            part(&[6]);
            part(&it.octets());
        }
    }
}

fn first_half(hash: [u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&hash[..16]);
    half
}

/// What keeps the dedup keys of viewers without an address from being turned back into addresses.
///
/// All replicas need the same, for good: with another one, a retry that is under way is another
/// event.
#[derive(Clone)]
pub struct DedupSecret(Hmac<Sha256>);

impl DedupSecret {
    pub const MIN_BYTES: usize = 32;

    /// Returns `None` where there are fewer than [`DedupSecret::MIN_BYTES`].
    pub fn new(secret: &[u8]) -> Option<Self> {
        let long_enough = secret.len() >= Self::MIN_BYTES;
        long_enough.then(|| Hmac::new_from_slice(secret).ok().map(Self)).flatten()
    }

    /// A name for `value` that cannot be turned back without the secret. It has another one for each
    /// `purpose`.
    pub fn pseudonym(&self, purpose: &str, value: &[u8]) -> u128 {
        let mut hash = self.0.clone();
        for part in [PSEUDONYM_DOMAIN, purpose.as_bytes(), b"\0", value] {
            hash.update(part);
        }
        u128::from_be_bytes(first_half(hash.finalize().into_bytes().into()))
    }
}

impl fmt::Debug for DedupSecret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("DedupSecret")
    }
}

/// 32 lower-case hexadecimal digits, on the stack: each event has its key written twice.
#[derive(Clone, Copy)]
pub(crate) struct Hexadecimal([u8; 32]);

impl Hexadecimal {
    pub(crate) fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_else(|_| unreachable!("digits are ASCII"))
    }
}

impl DedupKey {
    pub(crate) fn hexadecimal(&self) -> Hexadecimal {
        // By hand, because a formatted number takes ten times as long.
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 32];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        Hexadecimal(text)
    }
}

/// 32 lower-case hexadecimal digits.
impl fmt::Display for DedupKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.hexadecimal().as_str())
    }
}

/// Who sent the event: the player's own id of it where there is one, else the viewer's address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Identity<'a> {
    EventId(&'a EventId),
    /// Never an IPv4 address mapped into IPv6: that is the same viewer as the IPv4 one.
    Address(IpAddr),
}

/// The moment of an event as far as sameness goes, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DedupTime(i64);

impl DedupTime {
    /// Returns `None` where the time is outside the range of [`Timestamp`].
    pub fn from_millis(millis: i64) -> Option<Self> {
        Timestamp::from_micros(millis.checked_mul(1000)?).map(|_| Self(millis))
    }

    /// Milliseconds since 1970.
    pub fn as_millis(self) -> i64 {
        self.0
    }

    pub fn timestamp(self) -> Timestamp {
        Timestamp::from_micros(self.0 * 1000).unwrap_or_else(|| unreachable!("checked when made"))
    }
}

/// How far apart two events of one viewer may be and still be the same: 1 ms to 1 day.
///
/// One millisecond, the default, counts every distinct timestamp. A minute is the seed's "one click
/// a minute". Changing it while players retry can count those retries twice.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DedupWindow {
    millis: i64,
}

impl DedupWindow {
    pub const MILLISECOND: Self = Self { millis: 1 };
    pub(crate) const MAX_MILLIS: i64 = 24 * 60 * 60 * 1000;

    /// Returns `None` unless `window` is a whole number of milliseconds, from 1 ms to 1 day.
    pub fn new(window: Duration) -> Option<Self> {
        let millis = i64::try_from(window.as_millis()).ok()?;
        let whole = window.subsec_nanos().is_multiple_of(1_000_000);
        (whole && (1..=Self::MAX_MILLIS).contains(&millis)).then_some(Self { millis })
    }

    /// The start of the window that `time` falls in. Windows are counted from 1970.
    pub fn truncate(self, time: Timestamp) -> DedupTime {
        let millis = time.as_millis();
        DedupTime(millis - millis % self.millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: Kind, ad: u64, identity: &Identity<'_>, millis: i64) -> String {
        let ad = AdId::new(ad).expect("in range");
        let time = DedupTime::from_millis(millis).expect("in range");
        DedupKey::compute(kind, ad, identity, time).to_string()
    }

    fn address(text: &str) -> Identity<'static> {
        Identity::Address(text.parse().expect("an address"))
    }

    /// These never change: a key that came out otherwise would count every retry twice. They were
    /// computed with Python's `hashlib` (`docs/KAFKA.md` shows how).
    #[test]
    fn the_key_of_these_events_is_the_same_for_ever() {
        let id = EventId::new("01J9ZQ-retry_1").expect("valid");
        let time = 1_744_736_100_000; // 2025-04-15T16:55:00Z

        let vectors = [
            (
                key(Kind::Click, 1, &address("192.168.1.100"), time),
                "0ced09db965834809dc862d418f22bcc",
            ),
            (
                key(Kind::Impression, 1, &address("192.168.1.100"), time),
                "5f86ead3d71c7e72f0286f4ad1f17167",
            ),
            (
                key(Kind::Click, AdId::MAX, &address("2001:db8::1"), 0),
                "76b24865b1a389b0b1771cc7b490b46b",
            ),
            (
                key(Kind::Click, 1, &Identity::EventId(&id), time),
                "0751c6978dea28e7dc89073d1f7afdf9",
            ),
        ];

        for (key, expected) in vectors {
            assert_eq!(key, expected);
        }
    }

    /// The same for the keyed ones.
    #[test]
    fn the_keyed_key_of_these_events_is_the_same_for_ever() {
        let secret = DedupSecret::new(b"an example of 32 bytes, no more.").expect("long enough");
        let key = |kind, identity: &str, millis| {
            let (ad, time) = (AdId::new(1).expect("in range"), DedupTime::from_millis(millis));
            let time = time.expect("in range");
            DedupKey::compute_keyed(&secret, kind, ad, &address(identity), time).to_string()
        };
        let time = 1_744_736_100_000; // 2025-04-15T16:55:00Z

        let vectors = [
            (key(Kind::Click, "192.168.1.100", time), "caf2d9690b802f827fa2d08b4b033fbe"),
            (key(Kind::Impression, "192.168.1.100", time), "9f7b36163f9ac9dc56db6fca6b98a598"),
            (key(Kind::Click, "2001:db8::1", 0), "eb7d707d033af8295e58449630bd1c01"),
        ];

        for (key, expected) in vectors {
            assert_eq!(key, expected);
        }
    }

    #[test]
    fn a_secret_is_not_short_and_not_shown() {
        assert!(DedupSecret::new(&[b'x'; DedupSecret::MIN_BYTES - 1]).is_none());
        let secret = DedupSecret::new(&[b'x'; DedupSecret::MIN_BYTES]).expect("long enough");
        assert_eq!(format!("{secret:?}"), "DedupSecret");
    }

    #[test]
    fn a_pseudonym_is_of_one_value_one_purpose_and_one_secret() {
        let secret = |byte| DedupSecret::new(&[byte; DedupSecret::MIN_BYTES]).expect("long enough");
        let name = secret(b'x').pseudonym("limits", b"value");

        assert_eq!(name, secret(b'x').pseudonym("limits", b"value"));
        assert_ne!(name, secret(b'y').pseudonym("limits", b"value"));
        assert_ne!(name, secret(b'x').pseudonym("limits", b"other"));
        assert_ne!(name, secret(b'x').pseudonym("limit", b"svalue"));
    }

    #[test]
    fn a_window_truncates_to_its_start() {
        let time = Timestamp::from_micros(1_744_736_159_999_999).expect("in range");
        let minute = DedupWindow::new(Duration::from_mins(1)).expect("in range");

        assert_eq!(minute.truncate(time).as_millis(), 1_744_736_100_000);
        assert_eq!(DedupWindow::MILLISECOND.truncate(time).as_millis(), 1_744_736_159_999);
    }

    #[test]
    fn a_window_is_whole_milliseconds_up_to_a_day() {
        assert!(DedupWindow::new(Duration::from_micros(1500)).is_none());
        assert!(DedupWindow::new(Duration::ZERO).is_none());
        assert!(DedupWindow::new(Duration::from_hours(24)).is_some());
        assert!(DedupWindow::new(Duration::from_hours(25)).is_none());
    }
}
