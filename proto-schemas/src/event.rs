//! The event itself, and the way between its bytes and a type that is proof.

use std::{fmt, net::IpAddr, time::Duration};

use prost::Message;

use crate::{
    AdId, DedupKey, DedupSecret, DedupTime, DedupWindow, EventId, Timestamp, UserAgent,
    dedup::Identity, wire,
};

/// The longest position in a video, in milliseconds: one day.
pub const MAX_PLAYBACK_MS: u32 = 86_400_000;

/// What the viewer did.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    Click,
    Impression,
}

impl Kind {
    pub const ALL: [Self; 2] = [Self::Click, Self::Impression];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Click => "click",
            Self::Impression => "impression",
        }
    }

    /// The number that stands for the kind in the schema and in the dedup key.
    pub(crate) fn wire_number(self) -> u8 {
        match self {
            Self::Click => 1,
            Self::Impression => 2,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// An event that was accepted, before anybody has said what makes it the same as another.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewEvent {
    pub kind: Kind,
    pub ad_id: AdId,
    /// By the player's clock.
    pub occurred_at: Timestamp,
    /// By the ingest service's clock.
    pub received_at: Timestamp,
    pub address: IpAddr,
    /// Milliseconds into the video, at most [`MAX_PLAYBACK_MS`].
    pub playback_ms: Option<u32>,
    pub event_id: Option<EventId>,
    pub user_agent: Option<UserAgent>,
}

/// How much of a viewer's address an event keeps.
///
/// Where it is not all of it, the whole address still says which events are the same, but only in a
/// hash that cannot be turned back without the secret.
#[derive(Clone, Debug)]
pub enum KeptAddress {
    Full,
    /// The network: an IPv4 /24, an IPv6 /48. The rest is zero.
    Network(DedupSecret),
    Nothing(DedupSecret),
}

impl KeptAddress {
    fn of(&self, address: IpAddr) -> Option<IpAddr> {
        match (self, address) {
            (Self::Full, address) => Some(address),
            (Self::Network(_), IpAddr::V4(it)) => {
                let [a, b, c, _] = it.octets();
                Some(IpAddr::from([a, b, c, 0]))
            }
            (Self::Network(_), IpAddr::V6(it)) => {
                let [a, b, c, ..] = it.segments();
                Some(IpAddr::from([a, b, c, 0, 0, 0, 0, 0]))
            }
            (Self::Nothing(_), _) => None,
        }
    }

    /// The secret for keys that are made of an address. An `event_id` hides nothing: it travels
    /// beside the key.
    fn secret(&self, identity: &Identity<'_>) -> Option<&DedupSecret> {
        match (self, identity) {
            (Self::Full, _) | (_, Identity::EventId(_)) => None,
            (Self::Network(secret) | Self::Nothing(secret), Identity::Address(_)) => Some(secret),
        }
    }
}

impl NewEvent {
    /// Computes dedup time and dedup key, once and for all.
    pub fn into_event(self, window: DedupWindow) -> AdEvent {
        self.into_event_keeping(window, &KeptAddress::Full)
    }

    /// The same where perhaps not all of the address is kept.
    pub fn into_event_keeping(self, window: DedupWindow, kept: &KeptAddress) -> AdEvent {
        let address = self.address.to_canonical();
        let dedup_time = window.truncate(self.occurred_at);
        let identity = match &self.event_id {
            Some(id) => Identity::EventId(id),
            None => Identity::Address(address),
        };
        let (kind, ad) = (self.kind, self.ad_id);
        AdEvent {
            dedup_key: match kept.secret(&identity) {
                None => DedupKey::compute(kind, ad, &identity, dedup_time),
                Some(secret) => DedupKey::compute_keyed(secret, kind, ad, &identity, dedup_time),
            },
            dedup_time,
            kind: self.kind,
            ad_id: self.ad_id,
            occurred_at: self.occurred_at,
            received_at: self.received_at,
            address: kept.of(address),
            playback_ms: self.playback_ms,
            event_id: self.event_id,
            user_agent: self.user_agent,
        }
    }
}

/// One click on, or one impression of, one ad, as it travels on Kafka.
///
/// Holding one is proof that every field is well formed and that the dedup time lies at the player's
/// timestamp or at most one day before it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AdEvent {
    pub dedup_key: DedupKey,
    pub dedup_time: DedupTime,
    pub kind: Kind,
    pub ad_id: AdId,
    /// By the player's clock.
    pub occurred_at: Timestamp,
    /// By the ingest service's clock.
    pub received_at: Timestamp,
    /// Perhaps only its network, or `None`, where the operator keeps no more (see [`KeptAddress`]).
    pub address: Option<IpAddr>,
    /// Milliseconds into the video, at most [`MAX_PLAYBACK_MS`].
    pub playback_ms: Option<u32>,
    pub event_id: Option<EventId>,
    pub user_agent: Option<UserAgent>,
}

/// Why bytes are not an event.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidEvent {
    #[error("not an ads.events.v1.AdEvent: {0}")]
    Malformed(#[from] prost::DecodeError),
    #[error("dedup key has {0} bytes, not 16")]
    DedupKey(usize),
    #[error("dedup time {0} ms is neither the event's time nor a truncation of it")]
    DedupTime(i64),
    #[error("kind {0} is unknown")]
    Kind(i32),
    #[error("ad id {0} is not between 1 and 2^53 - 1")]
    AdId(u64),
    #[error("{field} is {micros} microseconds, outside 1970 to 2199")]
    Time { field: &'static str, micros: i64 },
    #[error("address has {0} bytes, not 4 or 16")]
    Address(usize),
    #[error("playback position {0} ms is past one day")]
    Playback(u32),
    #[error("event id is not 1 to 64 visible ASCII characters")]
    EventId,
    #[error("user agent is not 1 to 512 bytes without control characters")]
    UserAgent,
}

impl AdEvent {
    /// The bytes of a record's value.
    pub fn encode(&self) -> Vec<u8> {
        let kind = match self.kind {
            Kind::Click => wire::Kind::Click,
            Kind::Impression => wire::Kind::Impression,
        };
        wire::AdEvent {
            dedup_key: self.dedup_key.as_bytes().to_vec(),
            dedup_time_ms: self.dedup_time.as_millis(),
            kind: kind.into(),
            ad_id: self.ad_id.get(),
            occurred_at_us: self.occurred_at.as_micros(),
            received_at_us: self.received_at.as_micros(),
            address: match self.address {
                Some(IpAddr::V4(it)) => it.octets().to_vec(),
                Some(IpAddr::V6(it)) => it.octets().to_vec(),
                None => Vec::new(),
            },
            playback_ms: self.playback_ms,
            event_id: self.event_id.as_ref().map(|it| it.as_str().to_owned()),
            user_agent: self.user_agent.as_ref().map(|it| it.as_str().to_owned()),
        }
        .encode_to_vec()
    }

    /// Reads a record's value.
    ///
    /// The dedup key is taken as it is: it was computed once, at ingest, by the rules of that day.
    pub fn decode(value: &[u8]) -> Result<Self, InvalidEvent> {
        let wire = wire::AdEvent::decode(value)?;
        let key_len = wire.dedup_key.len();
        let dedup_key = wire.dedup_key.try_into().map_err(|_| InvalidEvent::DedupKey(key_len))?;
        let kind = match wire::Kind::try_from(wire.kind) {
            Ok(wire::Kind::Click) => Kind::Click,
            Ok(wire::Kind::Impression) => Kind::Impression,
            Ok(wire::Kind::Unspecified) | Err(_) => return Err(InvalidEvent::Kind(wire.kind)),
        };
        let occurred_at = timestamp("occurred_at", wire.occurred_at_us)?;
        Ok(Self {
            dedup_key: DedupKey::from_bytes(dedup_key),
            dedup_time: dedup_time(wire.dedup_time_ms, occurred_at)?,
            kind,
            ad_id: AdId::new(wire.ad_id).ok_or(InvalidEvent::AdId(wire.ad_id))?,
            occurred_at,
            received_at: timestamp("received_at", wire.received_at_us)?,
            address: address(&wire.address)?,
            playback_ms: match wire.playback_ms {
                Some(ms) if ms > MAX_PLAYBACK_MS => return Err(InvalidEvent::Playback(ms)),
                position => position,
            },
            event_id: match wire.event_id {
                Some(id) => Some(EventId::new(id).map_err(|_| InvalidEvent::EventId)?),
                None => None,
            },
            user_agent: match wire.user_agent {
                Some(it) => Some(UserAgent::checked(it).ok_or(InvalidEvent::UserAgent)?),
                None => None,
            },
        })
    }

    /// How old the event was when it was received; zero where the player's clock was ahead.
    pub fn age_when_received(&self) -> Duration {
        self.received_at.since(self.occurred_at)
    }

    /// How far the player's clock was ahead when the event was received; zero where it was not.
    pub fn ahead_when_received(&self) -> Duration {
        self.occurred_at.since(self.received_at)
    }
}

fn timestamp(field: &'static str, micros: i64) -> Result<Timestamp, InvalidEvent> {
    Timestamp::from_micros(micros).ok_or(InvalidEvent::Time { field, micros })
}

fn dedup_time(millis: i64, occurred_at: Timestamp) -> Result<DedupTime, InvalidEvent> {
    let truncated_by = occurred_at.as_millis().saturating_sub(millis);
    DedupTime::from_millis(millis)
        .filter(|_| (0..=DedupWindow::MAX_MILLIS).contains(&truncated_by))
        .ok_or(InvalidEvent::DedupTime(millis))
}

fn address(bytes: &[u8]) -> Result<Option<IpAddr>, InvalidEvent> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        Ok(Some(v4.into()))
    } else if let Ok(v6) = <[u8; 16]>::try_from(bytes) {
        Ok(Some(v6.into()))
    } else if bytes.is_empty() {
        Ok(None)
    } else {
        Err(InvalidEvent::Address(bytes.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"an example of 32 bytes, no more.";

    fn event(address: &str, event_id: Option<&str>, kept: &KeptAddress) -> AdEvent {
        let now = Timestamp::from_micros(1_744_736_100_000_000).expect("in range");
        NewEvent {
            kind: Kind::Click,
            ad_id: AdId::new(1).expect("in range"),
            occurred_at: now,
            received_at: now,
            address: address.parse().expect("an address"),
            playback_ms: None,
            event_id: event_id.map(|id| EventId::new(id).expect("valid")),
            user_agent: None,
        }
        .into_event_keeping(DedupWindow::MILLISECOND, kept)
    }

    fn secret() -> DedupSecret {
        DedupSecret::new(SECRET).expect("long enough")
    }

    #[test]
    fn of_an_address_its_network_or_nothing_may_be_kept() {
        let network = KeptAddress::Network(secret());
        let kept = |address, kept: &KeptAddress| {
            event(address, None, kept).address.map(|it| it.to_string())
        };

        assert_eq!(kept("203.0.113.77", &network).as_deref(), Some("203.0.113.0"));
        assert_eq!(kept("::ffff:203.0.113.77", &network).as_deref(), Some("203.0.113.0"));
        assert_eq!(kept("2001:db8:1:2:3::4", &network).as_deref(), Some("2001:db8:1::"));
        assert_eq!(kept("203.0.113.77", &KeptAddress::Nothing(secret())), None);
        assert_eq!(kept("203.0.113.77", &KeptAddress::Full).as_deref(), Some("203.0.113.77"));
    }

    #[test]
    fn viewers_of_one_network_stay_apart_and_a_retry_stays_the_same() {
        for kept in [KeptAddress::Network(secret()), KeptAddress::Nothing(secret())] {
            let one = event("203.0.113.77", None, &kept);
            let other = event("203.0.113.78", None, &kept);

            assert_ne!(one.dedup_key, other.dedup_key);
            assert_eq!(one, event("203.0.113.77", None, &kept));
            assert_ne!(one.dedup_key, event("203.0.113.77", None, &KeptAddress::Full).dedup_key);
        }
    }

    #[test]
    fn another_secret_gives_another_key() {
        let other = DedupSecret::new(b"another of 32 bytes, or of more.").expect("long enough");
        let key = |secret| event("203.0.113.77", None, &KeptAddress::Nothing(secret)).dedup_key;

        assert_ne!(key(secret()), key(other));
    }

    #[test]
    fn the_key_of_an_event_with_an_id_does_not_depend_on_what_is_kept() {
        let key = |kept| event("203.0.113.77", Some("a"), &kept).dedup_key;

        assert_eq!(key(KeptAddress::Nothing(secret())), key(KeptAddress::Full));
        assert_eq!(key(KeptAddress::Network(secret())), key(KeptAddress::Full));
    }
}
