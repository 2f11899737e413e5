//! What each field of an event must look like, from its text to a type that is proof.

use std::net::IpAddr;

use proto_schemas::{AdId, EventId, MAX_PLAYBACK_MS};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// What an ad id must be.
pub(super) const AD_ID: &str = "an integer from 1 to 9007199254740991, written in digits only";
/// What a timestamp must be.
pub(super) const TIMESTAMP: &str = "an RFC 3339 timestamp such as \"2025-04-15T16:55:00Z\"";
/// What an address must be.
pub(super) const ADDRESS: &str = "an IPv4 or IPv6 address such as \"192.0.2.1\"";
/// What a playback position must be.
pub(super) const PLAYBACK: &str = "a number of seconds from 0 to 86400";
/// What an event id must be.
pub(super) const EVENT_ID: &str = "1 to 64 visible ASCII characters";

/// What a type must be.
pub(super) const KIND: &str = "\"click\" or \"impression\"";

/// An exponent beyond what the digits of any body could make up for.
const FAR: i64 = 1_000_000_000;

/// Reads an integer that is written as one.
///
/// `1.0` and `1e3` are refused although they are whole: who writes ids like that keeps them in
/// floating point, and finds out at the first id instead of at the first one above 2^53.
pub(super) fn ad_id(number: &str) -> Option<AdId> {
    let digits = number.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| number.parse().ok()).flatten().and_then(AdId::new)
}

/// Reads a moment, in microseconds since 1970; what is finer is cut off. It can lie outside the
/// range of a `Timestamp`.
///
/// A leap second (23:59:60 UTC at the end of a month) is taken for the microsecond before it
/// ends, as no clock here has it.
pub(super) fn timestamp(text: &str) -> Option<i64> {
    // The parser would take any character for the T.
    if !matches!(text.as_bytes().get(10), Some(b'T' | b't')) {
        return None;
    }
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(moment.unix_timestamp_nanos().div_euclid(1000)).ok()
}

/// Reads an address. An IPv4 one in IPv6 form comes out as IPv4.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok().map(|it: IpAddr| it.to_canonical())
}

/// Reads a position of up to one day, as milliseconds: to the nearest one, halves up.
///
/// The decimal text is read as it stands, so that what comes out does not depend on how a binary
/// fraction happens to lie.
pub(super) fn playback_ms(number: &str) -> Option<u32> {
    plain_playback_ms(number).or_else(|| any_playback_ms(number))
}

/// A position as players write it, such as `12.3`: nothing has to be rounded, nothing is out of range.
fn plain_playback_ms(number: &str) -> Option<u32> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str, most| {
        (1..=most).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_digit())
    };
    if !digits(whole, 5) || !digits(fraction, 3) {
        return None;
    }
    let scale = [100, 10, 1][fraction.len() - 1];
    let ms = whole.parse::<u32>().ok()? * 1000 + fraction.parse::<u32>().ok()? * scale;
    (ms <= MAX_PLAYBACK_MS).then_some(ms)
}

fn any_playback_ms(number: &str) -> Option<u32> {
    let (significand, exponent) = match number.split_once(['e', 'E']) {
        // Out of reach of any body's digits either way, so the sign is all that counts.
        Some((significand, exponent)) => (
            significand,
            exponent.parse().unwrap_or(if exponent.starts_with('-') { -FAR } else { FAR }),
        ),
        None => (number, 0_i64),
    };
    let (negative, significand) = match significand.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, significand),
    };
    let (whole, fraction) = significand.split_once('.').unwrap_or((significand, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None; // not a number at all
    }

    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some(0); // also -0, which is zero
    }
    // Where the point stands in `digits` once the number is in milliseconds.
    let point = (i64::try_from(digits.len()).ok()? + 3)
        .saturating_sub(i64::try_from(fraction.len()).ok()?)
        .saturating_add(exponent);
    if negative { None } else { rounded(digits, point) }
}

/// Reads an event id.
pub(super) fn event_id(text: &str) -> Option<EventId> {
    EventId::new(text).ok()
}

/// Rounds 0.`digits` × 10^`point` to a whole number that is at most a day. The first digit is not 0.
fn rounded(digits: &str, point: i64) -> Option<u32> {
    if point > 8 {
        return None; // a day has 8 digits
    }
    let Ok(point) = usize::try_from(point) else {
        return Some(0); // less than a tenth
    };
    let (whole, rest) = digits.split_at(point.min(digits.len()));
    let whole: u32 = if whole.is_empty() { 0 } else { format!("{whole:0<point$}").parse().ok()? };
    let beyond = rest.bytes().any(|byte| byte != b'0');
    if whole > MAX_PLAYBACK_MS || (whole == MAX_PLAYBACK_MS && beyond) {
        return None;
    }
    Some(whole + u32::from(rest.as_bytes().first().is_some_and(|&digit| digit >= b'5')))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_ad_id_is_an_integer_that_is_written_as_one() {
        assert_eq!(ad_id("1").map(AdId::get), Some(1));
        assert_eq!(ad_id("9007199254740991").map(AdId::get), Some(AdId::MAX));

        for bad in [
            "0",
            "-1",
            "-0",
            "1.5",
            "1.0",
            "1e3",
            "\"1\"",
            "true",
            "[1]",
            "{}",
            "9007199254740992",
            "18446744073709551617",
        ] {
            assert_eq!(ad_id(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_timestamp_is_rfc_3339_with_any_offset() {
        let expected = Some(1_744_736_100_000_000);

        assert_eq!(timestamp("2025-04-15T16:55:00Z"), expected);
        assert_eq!(timestamp("2025-04-15t16:55:00z"), expected);
        assert_eq!(timestamp("2025-04-15T18:55:00+02:00"), expected);
        assert_eq!(timestamp("2025-04-15T11:25:00-05:30"), expected);
        assert_eq!(timestamp("2025-04-15T16:55:00-00:00"), expected);
        assert_eq!(timestamp("2025-04-15T16:55:00.000000000000Z"), expected);
    }

    #[test]
    fn a_timestamp_is_kept_to_the_microsecond() {
        assert_eq!(timestamp("1970-01-01T00:00:00.0000019Z"), Some(1));
        assert_eq!(timestamp("1970-01-01T00:00:01.25Z"), Some(1_250_000));
        assert_eq!(timestamp("1969-12-31T23:59:59.9999999Z"), Some(-1));
    }

    #[test]
    fn a_leap_second_is_the_end_of_the_second_before() {
        assert_eq!(timestamp("2016-12-31T23:59:60Z"), Some(1_483_228_799_999_999));
        assert_eq!(timestamp("2017-01-01T00:59:60+01:00"), Some(1_483_228_799_999_999));
        assert_eq!(timestamp("2016-12-31T12:00:60Z"), None);
    }

    #[test]
    fn anything_else_is_no_timestamp() {
        for bad in [
            "",
            "2025-04-15",
            "2025-04-15T16:55:00",
            "2025-04-15 16:55:00Z",
            "2025-04-15T16:55Z",
            "2025-04-15T16:55:00.Z",
            "2025-04-15T16:55:00,5Z",
            "2025-04-15T16:55:00+0200",
            "2025-04-15T16:55:00+24:00",
            "2025-04-15T16:55:00Z ",
            " 2025-04-15T16:55:00Z",
            "2025-02-29T16:55:00Z",
            "2025-13-01T16:55:00Z",
            "2025-04-15T24:00:00Z",
            "2025-04-15T16:60:00Z",
            "2025-04-15T16:55:61Z",
            "20250415T165500Z",
            "+2025-04-15T16:55:00Z",
            "2025-04-15é16:55:00Z",
            "1744736100",
        ] {
            assert_eq!(timestamp(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_the_short_way_is_what_the_long_way_reads(
            number in "[0-9]{0,6}(\\.[0-9]{0,4})?",
        ) {
            if let Some(ms) = plain_playback_ms(&number) {
                prop_assert_eq!(any_playback_ms(&number), Some(ms));
            }
        }
    }

    #[test]
    fn an_address_is_ipv4_or_ipv6() {
        let read = |text: &str| address(text).map(|it| it.to_string());

        assert_eq!(read("192.168.1.100").as_deref(), Some("192.168.1.100"));
        assert_eq!(read("::ffff:192.168.1.100").as_deref(), Some("192.168.1.100"));
        assert_eq!(read("2001:DB8:0::1").as_deref(), Some("2001:db8::1"));
        for bad in [
            "",
            "localhost",
            "192.168.1",
            "192.168.1.100:80",
            "192.168.001.100",
            "[::1]",
            "3232235876",
        ] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_position_is_kept_as_milliseconds() {
        for (json, ms) in [
            ("0", 0),
            ("-0", 0),
            ("0.0e9", 0),
            ("12", 12_000),
            ("12.5", 12_500),
            ("12.345", 12_345),
            ("1e1", 10_000),
            ("1.5E+2", 150_000),
            ("125e-1", 12_500),
            ("0.001", 1),
            ("1E-3", 1),
            ("86400", 86_400_000),
            ("86400.000", 86_400_000),
            ("8.64e4", 86_400_000),
            ("0.0000000000000000000000000000000000000000864e45", 86_400_000),
        ] {
            assert_eq!(playback_ms(json), Some(ms), "{json}");
        }
    }

    #[test]
    fn a_position_is_rounded_to_the_nearest_millisecond_and_halves_up() {
        for (json, ms) in [
            ("0.0004", 0),
            ("0.0004999999999999999999", 0),
            ("0.0005", 1),
            ("1.0005", 1_001), // a binary fraction would lie just below the half
            ("1.0015", 1_002),
            ("0.00004", 0),
            ("0.00009", 0),
            ("1e-400", 0),
            ("1e-99999999999999999999", 0),
            ("86399.9996", 86_400_000),
        ] {
            assert_eq!(playback_ms(json), Some(ms), "{json}");
        }
    }

    #[test]
    fn a_position_lies_within_a_day() {
        for bad in [
            "-1",
            "-0.0001",
            "86400.0001",
            "86401",
            "100000000",
            "1e6",
            "1e400",
            "1e99999999999999999999",
            "\"12\"",
            "true",
            "[]",
            "{\"e\":1}",
        ] {
            assert_eq!(playback_ms(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_event_id_is_a_short_visible_text() {
        assert_eq!(event_id("a-1").map(|it| it.as_str().to_owned()).as_deref(), Some("a-1"));
        for bad in ["", "a b", "\u{e9}", "\t"] {
            assert_eq!(event_id(bad), None, "{bad}");
        }
    }
}
