//! Names of things: the ad, the player's own id of an event, and the player's software.

use std::fmt;

/// An ad.
///
/// Holding one is proof that it lies between 1 and 2^53 − 1, so that it survives a JSON number in
/// any language.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct AdId(u64);

impl AdId {
    /// The largest id: the largest integer that an IEEE 754 double holds exactly (RFC 8259,
    /// section 6).
    pub const MAX: u64 = (1 << 53) - 1;

    /// Returns `None` for zero and for anything above [`AdId::MAX`].
    pub fn new(id: u64) -> Option<Self> {
        (1..=Self::MAX).contains(&id).then_some(Self(id))
    }

    pub fn get(self) -> u64 {
        self.0
    }

    /// The id as the signed integer that SQL has.
    pub fn as_i64(self) -> i64 {
        self.0.cast_signed()
    }
}

impl fmt::Display for AdId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// The player's own id of an event: 1 to 64 visible ASCII characters.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EventId(String);

/// Why a text is no event id.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("event id is not 1 to 64 visible ASCII characters")]
pub struct InvalidEventId;

impl EventId {
    const MAX_LEN: usize = 64;

    pub fn new(id: impl Into<String>) -> Result<Self, InvalidEventId> {
        let id = id.into();
        let visible = id.bytes().all(|byte| byte.is_ascii_graphic());
        if visible && (1..=Self::MAX_LEN).contains(&id.len()) {
            Ok(Self(id))
        } else {
            Err(InvalidEventId)
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a player says it is: 1 to 512 bytes without control characters.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UserAgent(String);

impl UserAgent {
    const MAX_BYTES: usize = 512;

    /// Takes what a header held: what is not UTF-8 is replaced, control characters are dropped, and
    /// the rest is cut at 512 bytes. `None` where nothing is left.
    pub fn from_header(value: &[u8]) -> Option<Self> {
        if (1..=Self::MAX_BYTES).contains(&value.len()) && is_plain(value) {
            return String::from_utf8(value.to_vec()).ok().map(Self);
        }
        let mut text: String =
            String::from_utf8_lossy(value).chars().filter(|it| !it.is_control()).collect();
        text.truncate(text.floor_char_boundary(Self::MAX_BYTES));
        (!text.is_empty()).then_some(Self(text))
    }

    /// Takes a text that must be well formed already.
    pub(crate) fn checked(text: String) -> Option<Self> {
        let well_formed = (1..=Self::MAX_BYTES).contains(&text.len())
            && (is_plain(text.as_bytes()) || !text.chars().any(char::is_control));
        well_formed.then_some(Self(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether these are letters, digits, signs and spaces of ASCII, as nearly always.
fn is_plain(text: &[u8]) -> bool {
    // All bytes are looked at, whatever is found, because that takes few instructions for many at once.
    text.iter().fold(true, |plain, byte| plain & (b' '..=b'~').contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ad_id_is_a_positive_integer_that_json_can_carry() {
        assert_eq!(AdId::new(0), None);
        assert_eq!(AdId::new(AdId::MAX + 1), None);
        assert_eq!(AdId::new(AdId::MAX).map(AdId::get), Some(9_007_199_254_740_991));
    }

    #[test]
    fn an_event_id_is_short_and_visible() {
        assert!(EventId::new("a").is_ok());
        assert!(EventId::new("x".repeat(64)).is_ok());
        for bad in ["", " ", "a b", "é", "tab\t", &"x".repeat(65)] {
            assert_eq!(EventId::new(bad), Err(InvalidEventId), "{bad:?}");
        }
    }

    #[test]
    fn a_user_agent_is_cut_and_cleaned() {
        let agent = UserAgent::from_header(b"Player/1\x00.0\xff").expect("something is left");
        assert_eq!(agent.as_str(), "Player/1.0\u{fffd}");
        let agent = UserAgent::from_header(b"Player/1.0\x7f").expect("something is left");
        assert_eq!(agent.as_str(), "Player/1.0");
        let agent = UserAgent::from_header(b"Player/1.0 (TV)").expect("something is left");
        assert_eq!(agent.as_str(), "Player/1.0 (TV)");

        let long = UserAgent::from_header("é".repeat(400).as_bytes()).expect("something is left");
        assert_eq!(long.as_str().len(), 512);
        let long = UserAgent::from_header(&[b'x'; 513]).expect("something is left");
        assert_eq!(long.as_str().len(), 512);
        assert_eq!(UserAgent::from_header(b"\r\n"), None);
    }
}
