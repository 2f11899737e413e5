//! What players put in the place of the macros of VAST, where it differs from what JSON has.

use proto_schemas::MAX_PLAYBACK_MS;

use super::fields;

/// Reads `[TIMESTAMP]`: RFC 3339, or the looser form of the IAB's own example,
/// `2016-01-17T8:15:07.127-05`, where an hour may have one digit and an offset no minutes.
pub(super) fn timestamp(text: &str) -> Option<i64> {
    fields::timestamp(text).or_else(|| fields::timestamp(&strict(text)?))
}

/// Reads `[ADPLAYHEAD]` and `[CONTENTPLAYHEAD]`, `HH:MM:SS.mmm`, or a number of seconds.
pub(super) fn playback_ms(text: &str) -> Option<u32> {
    if !text.contains(':') {
        return fields::playback_ms(text);
    }
    let mut parts = text.split(':');
    let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next()?);
    let (hours, minutes) = (digits(hours, 1..=3)?, digits(minutes, 2..=2)?);
    let (whole, _fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    if parts.next().is_some() || minutes > 59 || digits(whole, 2..=2)? > 59 {
        return None;
    }
    let ms = (hours * 3600 + minutes * 60) * 1000 + fields::playback_ms(seconds)?;
    (ms <= MAX_PLAYBACK_MS).then_some(ms)
}

/// Adds what a loosely written timestamp lacks to be RFC 3339; whether it then is one is still to be
/// seen.
fn strict(text: &str) -> Option<String> {
    let (date, time) = text.split_once(['T', 't'])?;
    let (time, sign, offset) = match time.rfind(['+', '-']) {
        Some(at) => (&time[..at], &time[at..=at], &time[at + 1..]),
        None => (time.strip_suffix(['Z', 'z'])?, "+", "00"),
    };
    let (hour, rest) = time.split_once(':').filter(|(hour, _)| !hour.is_empty())?;
    let offset = offset.replace(':', "");
    let (hours, minutes) = match offset.len() {
        1 | 2 => (offset.as_str(), "00"),
        4 => offset.split_at_checked(2)?,
        _ => return None,
    };
    Some(format!("{date}T{hour:0>2}:{rest}{sign}{hours:0>2}:{minutes}"))
}

fn digits(text: &str, count: std::ops::RangeInclusive<usize>) -> Option<u32> {
    let are_digits = count.contains(&text.len()) && text.bytes().all(|it| it.is_ascii_digit());
    are_digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_iab_is_a_timestamp() {
        let expected = fields::timestamp("2016-01-17T08:15:07.127-05:00");

        assert!(expected.is_some());
        for loose in [
            "2016-01-17T8:15:07.127-05",
            "2016-01-17T08:15:07.127-5",
            "2016-01-17T08:15:07.127-0500",
            "2016-01-17T13:15:07.127Z",
            "2016-01-17T13:15:07.127+00",
            "2016-01-17t18:45:07.127+0530",
            "2016-01-17T18:45:07.127+05:30",
            "2016-01-17T8:15:07.127-05:00",
        ] {
            assert_eq!(timestamp(loose), expected, "{loose}");
        }
        assert_eq!(timestamp("2016-01-17T8:15:07Z"), fields::timestamp("2016-01-17T08:15:07Z"));
    }

    #[test]
    fn what_is_looser_still_is_none() {
        for bad in [
            "",
            "T",
            "[TIMESTAMP]",
            "1453036507127",
            "2016-01-17",
            "2016-01-17T8:15:07.127",
            "2016-01-17T8:15-05",
            "2016-01-17 8:15:07-05",
            "2016-1-17T8:15:07-05",
            "2016-01-17T:15:07-05",
            "2016-01-17T008:15:07-05",
            "2016-01-17T24:15:07-05",
            "2016-01-17T8:15:07-05000",
            "2016-01-17T8:15:07-é5",
            "2016-01-17T8:15:07--05",
            "2016-01-17T8:15:07-05Z",
        ] {
            assert_eq!(timestamp(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_playhead_is_kept_as_milliseconds() {
        for (text, ms) in [
            ("00:00:00", 0),
            ("00:00:12.500", 12_500),
            ("00:00:12.5", 12_500),
            ("1:02:03.004", 3_723_004),
            ("23:59:59.999", 86_399_999),
            ("24:00:00.000", 86_400_000),
            ("12.5", 12_500),
            ("7", 7000),
        ] {
            assert_eq!(playback_ms(text), Some(ms), "{text}");
        }
        for bad in [
            "24:00:00.001",
            "1000:00:00",
            "00:60:00",
            "00:00:60",
            "00:00",
            "00:00:00:00",
            ":00:00",
            "00:0:00",
            "00:00:0",
            "00:00:1e1",
            "00:00:-1",
            "-1:00:00",
            "٠٠:٠٠:٠٠",
        ] {
            assert_eq!(playback_ms(bad), None, "{bad}");
        }
    }
}
