//! What holds for every event, however it is written, and for every body and query, whatever is in it.

use std::net::IpAddr;

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::{collection::vec, option, prelude::*};
use proto_schemas::{AdId, EventId, MAX_PLAYBACK_MS};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

use super::*;

/// 2199-12-31T23:59:59.999999Z.
const LAST_MICROS: i64 = 7_258_118_399_999_999;

/// An event, and the ways in which it is written.
#[derive(Clone, Debug)]
struct Said {
    ad_id: u64,
    micros: i64,
    offset_minutes: i32,
    ip: Option<IpAddr>,
    playback_ms: Option<u32>,
    event_id: Option<String>,
}

prop_compose! {
    fn said()(
        ad_id in 1..=AdId::MAX,
        micros in 0..=LAST_MICROS,
        offset_minutes in -1439..=1439_i32,
        ip in option::of(any::<IpAddr>()),
        playback_ms in option::of(0..=MAX_PLAYBACK_MS),
        // Not what stands for an absent parameter.
        event_id in option::of("[!-,./3-Z^-~][!-~]{0,63}"),
    ) -> Said {
        Said { ad_id, micros, offset_minutes, ip, playback_ms, event_id }
    }
}

impl Said {
    fn report(&self) -> Report {
        Report {
            ad_id: AdId::new(self.ad_id).expect("in range"),
            occurred_at_us: Some(self.micros),
            ip: self.ip.map(|it| it.to_canonical()),
            playback_ms: self.playback_ms,
            event_id: self.event_id.as_ref().map(|it| EventId::new(it.as_str()).expect("visible")),
        }
    }

    fn timestamp(&self) -> String {
        let utc = OffsetDateTime::UNIX_EPOCH + Duration::microseconds(self.micros);
        let offset = UtcOffset::from_whole_seconds(self.offset_minutes * 60).expect("in range");
        utc.to_offset(offset).format(&Rfc3339).expect("a year of four digits")
    }

    /// The timestamp without the zeros that the IAB's example does without.
    fn loose_timestamp(&self) -> String {
        let strict = self.timestamp().replace("T0", "T");
        strict.strip_suffix(":00").map_or_else(|| strict.clone(), ToOwned::to_owned)
    }

    fn position(&self, form: usize) -> Option<String> {
        let ms = self.playback_ms?;
        let (seconds, rest) = (ms / 1000, ms % 1000);
        Some(match form % 4 {
            0 => format!("{seconds}.{rest:03}"),
            1 => format!("{ms}e-3"),
            2 => format!("{ms}00E-5"),
            _ => format!("0.{ms:09}e+6"),
        })
    }

    fn playhead(&self) -> Option<String> {
        let ms = self.playback_ms?;
        let (hours, minutes) = (ms / 3_600_000, ms / 60_000 % 60);
        Some(format!("{hours:02}:{minutes:02}:{:02}.{:03}", ms / 1000 % 60, ms % 1000))
    }
}

/// One of the escapes that JSON has for every character.
fn escaped(text: &str) -> String {
    let escapes = text.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
    format!("\"{}\"", escapes.collect::<String>())
}

fn json_values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 8, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..8).prop_map(Value::from),
            vec((any::<String>(), inner), 0..8).prop_map(|it| it.into_iter().collect()),
        ]
    })
}

/// What must be written with a percent sign for a value to stay in one piece.
const NEEDED: &AsciiSet = &CONTROLS.add(b'%').add(b'&').add(b'#').add(b' ');

proptest! {
    #[test]
    fn what_is_said_in_json_is_what_is_read(
        said in said(),
        form in any::<usize>(),
        escape in any::<bool>(),
        unknown in vec(("[a-z]{1,3}", json_values()), 0..4),
        order in any::<prop::sample::Selector>(),
    ) {
        let text = |it: &str| if escape { escaped(it) } else { json!(it).to_string() };
        let mut members = vec![
            Some(("ad_id", said.ad_id.to_string())),
            Some(("timestamp", text(&said.timestamp()))),
            said.ip.map(|it| ("ip", text(&it.to_string()))),
            said.position(form).map(|it| ("playback_time", it)),
            said.event_id.as_deref().map(|it| ("event_id", text(it))),
        ];
        members.extend(unknown.iter().filter(|it| it.0 != "ip").map(|(name, value)| {
            Some((name.as_str(), value.to_string()))
        }));
        let mut members: Vec<_> = members.into_iter().flatten().collect();
        let last = order.select(0..members.len());
        members.rotate_left(last);
        let members = members.iter().map(|(name, value)| format!("{}: {value}", text(name)));
        let object = format!("{{{}}}", members.collect::<Vec<_>>().join(" ,"));

        prop_assert_eq!(Report::from_json(object.as_bytes()), Ok(said.report()), "{}", object);
    }

    #[test]
    fn what_is_said_in_a_query_is_what_is_read(
        said in said(),
        form in 0..5_usize,
        loosely in any::<bool>(),
        encode_all in any::<bool>(),
        other in "[a-z]{5,9}=[^&#]{0,9}",
    ) {
        let set = if encode_all { NON_ALPHANUMERIC } else { NEEDED };
        let pair = |name: &str, value: &str| format!("{name}={}", utf8_percent_encode(value, set));
        let position = if form == 4 { said.playhead() } else { said.position(form) };
        let timestamp = if loosely { said.loose_timestamp() } else { said.timestamp() };
        let pairs = [
            Some(other),
            Some(pair("ts", &timestamp)),
            said.event_id.as_deref().map(|it| pair("event_id", it)),
            said.ip.map(|it| pair("ip_address", &it.to_string())),
            position.map(|it| pair("playback_time", &it)),
            Some(pair("ad_id", &said.ad_id.to_string())),
        ];
        let query = pairs.into_iter().flatten().collect::<Vec<_>>().join("&");

        let parameters = Parameters::parse(&query).expect("not too long");
        prop_assert_eq!(Report::from_parameters(&parameters), Ok(said.report()), "{}", query);
    }

    #[test]
    fn no_body_is_too_strange_to_be_looked_at(body in any::<Vec<u8>>()) {
        drop(Report::from_json(&body));
        drop(Report::with_kind_from_json(&body));
        drop(json_array(&body));
        drop(json_lines(&body));
    }

    #[test]
    fn no_value_is_too_strange_for_a_field(
        value in json_values(),
        field in prop::sample::select(vec![
            "ad_id", "timestamp", "ip", "ip_address", "playback_time", "video_playback_time",
            "event_id", "type",
        ]),
    ) {
        let mut event = json!({ "ad_id": 1, "timestamp": "2025-04-15T16:55:00Z", "type": "click" });
        event[field] = value;
        drop(Report::with_kind_from_json(event.to_string().as_bytes()));
    }

    #[test]
    fn no_query_is_too_strange_to_be_looked_at(
        query in "(ad_id|ts|event_id|ip|to|sig|x|playback_time|[%=&+]|\\PC){0,3}(=|&|%[0-9a-f]{0,2}|\\PC){0,40}",
    ) {
        let parameters = Parameters::parse(&query).expect("not too long");
        drop(Report::from_parameters(&parameters));
        drop(parameters.one("to"));
    }

    #[test]
    fn any_text_comes_through_a_query_as_it_was(text in any::<String>(), rest in "&?[a-s]=[a-z]?") {
        let query = format!("{rest}&to={}&{rest}", utf8_percent_encode(&text, NEEDED));

        let parameters = Parameters::parse(&query).expect("not too long");
        let to = parameters.one("to").expect("there once");
        prop_assert_eq!(to.as_deref(), Some(text.as_str()));
    }

    #[test]
    fn a_batch_falls_into_what_it_was_put_together_from(values in vec(json_values(), 1..20)) {
        let texts: Vec<_> = values.iter().map(Value::to_string).collect();
        let expected: Vec<_> = texts.iter().map(String::as_bytes).collect();
        let (array, lines) = (format!("[ {} ]", texts.join(" ,\n")), texts.join(" \r\n\n"));

        let (elements, lines) = (json_array(array.as_bytes()), json_lines(lines.as_bytes()));
        prop_assert_eq!(elements.as_ref(), Ok(&expected));
        prop_assert_eq!(lines.as_ref(), Ok(&expected));
    }

    #[test]
    fn a_position_is_rounded_as_on_paper(
        whole in 0..=90_000_u32,
        fraction in "[0-9]{0,9}",
        exponent in -6..=3_i32,
    ) {
        let text = format!("{whole}.{fraction}0e{exponent}");
        let digits: u128 = format!("{whole}{fraction}").parse().expect("digits");
        // The position is digits × 10^scale milliseconds.
        let scale = exponent + 3 - i32::try_from(fraction.len()).expect("short");
        let power = 10_u128.pow(scale.unsigned_abs());
        let (numerator, denominator) = if scale < 0 { (digits, power) } else { (digits * power, 1) };
        let fits = numerator <= u128::from(MAX_PLAYBACK_MS) * denominator;
        let rounded = u32::try_from((2 * numerator + denominator) / (2 * denominator)).ok();

        prop_assert_eq!(fields::playback_ms(&text), rounded.filter(|_| fits), "{}", text);
    }

    #[test]
    fn no_macro_is_filled_in_too_strangely(text in "[0-9TtZz:.+\\-é ]{0,30}") {
        let loosely = macros::timestamp(&text);
        if let Some(strictly) = fields::timestamp(&text) {
            prop_assert_eq!(loosely, Some(strictly));
        }
        if let Some(ms) = macros::playback_ms(&text) {
            prop_assert!(ms <= MAX_PLAYBACK_MS);
        }
    }
}
