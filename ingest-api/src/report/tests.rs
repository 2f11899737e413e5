//! What is read from a JSON object, and what is refused.

use super::*;

const FULL: &str = r#"{"ad_id":1,"timestamp":"2025-04-15T16:55:00Z","ip":"192.168.1.100",
    "playback_time":12.5,"event_id":"e-1"}"#;

fn parse(body: &str) -> Result<Report, Invalid> {
    Report::from_json(body.as_bytes())
}

/// The code and the field for a body that has `more` beside what is required.
fn refusal(more: &str) -> (&'static str, Option<&'static str>) {
    let body = format!(r#"{{"ad_id":1,"timestamp":"2025-04-15T16:55:00Z",{more}}}"#);
    parse(&body).expect_err(more).code_and_field()
}

fn with(more: &str) -> Report {
    parse(&format!(r#"{{"ad_id":1,"timestamp":"2025-04-15T16:55:00Z",{more}}}"#)).expect(more)
}

#[test]
fn every_field_is_read() {
    let report = parse(FULL).expect("valid");

    assert_eq!(report.ad_id.get(), 1);
    assert_eq!(report.occurred_at_us, Some(1_744_736_100_000_000));
    assert_eq!(report.ip.map(|it| it.to_string()).as_deref(), Some("192.168.1.100"));
    assert_eq!(report.playback_ms, Some(12_500));
    assert_eq!(report.event_id.as_ref().map(EventId::as_str), Some("e-1"));
}

#[test]
fn the_names_of_the_go_structs_are_read_too() {
    let report = with(r#""ip_address":"192.168.1.100","video_playback_time":12"#);

    assert_eq!(report.ip.map(|it| it.to_string()).as_deref(), Some("192.168.1.100"));
    assert_eq!(report.playback_ms, Some(12_000));
}

#[test]
fn two_names_of_one_thing_must_say_the_same() {
    let report = with(r#""ip":"::ffff:192.0.2.1","ip_address":"192.0.2.1""#);
    assert_eq!(report.ip.map(|it| it.to_string()).as_deref(), Some("192.0.2.1"));
    assert_eq!(with(r#""playback_time":12,"video_playback_time":1.2e1"#).playback_ms, Some(12_000));
    assert_eq!(with(r#""playback_time":null,"video_playback_time":1"#).playback_ms, Some(1000));

    let contradicting = |field| ("contradicting_fields", Some(field));
    let refused = refusal(r#""ip":"192.0.2.1","ip_address":"192.0.2.2""#);
    assert_eq!(refused, contradicting("ip"));
    let refused = refusal(r#""playback_time":1,"video_playback_time":2"#);
    assert_eq!(refused, contradicting("playback_time"));
}

#[test]
fn unknown_fields_are_ignored() {
    let deep = format!(r#""x":{}{},"event_id":"e""#, "[".repeat(1000), "]".repeat(1000));

    assert_eq!(with(r#""x":{"ad_id":[1.5,null]},"x":7,"":0"#), with(r#""y":1"#));
    assert!(with(&deep).event_id.is_some());
}

#[test]
fn null_counts_as_absent() {
    let nulls = r#""ip":null,"playback_time":null,"event_id":null"#;
    assert_eq!(with(nulls), with(r#""y":1"#));
    assert_eq!(with(r#""ip":"","ip_address":"","event_id":"""#), with(r#""y":1"#));

    let body = r#"{"ad_id":null,"timestamp":"2025-04-15T16:55:00Z"}"#;
    assert_eq!(parse(body), Err(Invalid::Missing("ad_id")));
}

#[test]
fn what_is_required_must_be_there() {
    assert_eq!(parse("{}"), Err(Invalid::Missing("ad_id")));
    assert_eq!(parse(r#"{"ad_id":1}"#), Err(Invalid::Missing("timestamp")));
}

#[test]
fn a_field_of_another_form_is_named() {
    let invalid = |field| ("invalid_field", Some(field));

    assert_eq!(refusal(r#""ip":"home""#), invalid("ip"));
    assert_eq!(refusal(r#""ip_address":7"#), invalid("ip_address"));
    assert_eq!(refusal(r#""playback_time":"12""#), invalid("playback_time"));
    assert_eq!(refusal(r#""video_playback_time":-1"#), invalid("video_playback_time"));
    assert_eq!(refusal(r#""event_id":7"#), invalid("event_id"));
    let body = r#"{"ad_id":"1","timestamp":"2025-04-15T16:55:00Z"}"#;
    assert_eq!(parse(body), Err(Invalid::Field("ad_id", fields::AD_ID)));
    let body = r#"{"ad_id":1,"timestamp":1744736100}"#;
    assert_eq!(parse(body), Err(Invalid::Field("timestamp", fields::TIMESTAMP)));
}

#[test]
fn a_field_stands_there_once() {
    assert_eq!(refusal(r#""ad_id":1"#), ("duplicate_field", Some("ad_id")));
    assert_eq!(refusal(r#""ad\u005fid":1"#), ("duplicate_field", Some("ad_id")));
    assert_eq!(refusal(r#""ip":null,"ip":"192.0.2.1""#), ("duplicate_field", Some("ip")));
}

#[test]
fn what_is_not_a_json_object_is_refused() {
    for (body, expected) in [
        (&b""[..], Invalid::Empty),
        (b" \r\n", Invalid::Empty),
        (b"\xff\xfe", Invalid::NotUtf8),
        (b"{\"ad_id\":1,\"x\":\"\xff\"}", Invalid::NotUtf8),
        (b"[1,2]", Invalid::NotAnObject),
        (b"\"text\"", Invalid::NotAnObject),
        (b"1", Invalid::NotAnObject),
        (b"null", Invalid::NotAnObject),
        (b"{", Invalid::NotJson { line: 1, column: 1 }),
    ] {
        assert_eq!(Report::from_json(body), Err(expected), "{}", body.escape_ascii());
    }
    for body in ["ad_id=1", "{\"ad_id\":1,}", "{'ad_id':1}", "{\"ad_id\":01}", "{} {}", "NaN"] {
        let code = parse(body).expect_err(body).code_and_field();
        assert_eq!(code, ("invalid_json", None), "{body}");
    }
}

mod time_limits {
    use super::*;

    const LIMITS: EventAge = EventAge {
        max_event_age: Duration::from_hours(7 * 24),
        max_event_ahead: Duration::from_mins(10),
    };

    fn at(text: &str) -> Result<Timestamp, Invalid> {
        let received_at = Timestamp::from_micros(1_744_736_100_000_000).expect("in range");
        let body = format!(r#"{{"ad_id":1,"timestamp":"{text}"}}"#);
        parse(&body).expect("valid").occurred_at(received_at, &LIMITS)
    }

    #[test]
    fn a_timestamp_may_be_a_little_ahead() {
        assert!(at("2025-04-15T17:05:00Z").is_ok());
        let refused = at("2025-04-15T17:05:00.000001Z").expect_err("too far ahead");

        assert_eq!(refused.code_and_field(), ("timestamp_in_future", Some("timestamp")));
        assert_eq!(refused.to_string(), "The timestamp lies more than 10 minutes in the future.");
    }

    #[test]
    fn a_timestamp_may_be_some_days_old() {
        assert!(at("2025-04-08T16:55:00Z").is_ok());
        let refused = at("2025-04-08T16:54:59.999999Z").expect_err("too old");

        assert_eq!(refused.code_and_field(), ("timestamp_too_old", Some("timestamp")));
        assert_eq!(refused.to_string(), "The timestamp is older than 7 days.");
    }

    #[test]
    fn no_limit_reaches_beyond_what_can_be_stored() {
        let wide = EventAge {
            max_event_age: Duration::from_hours(1_000_000),
            max_event_ahead: Duration::MAX,
        };
        let now = Timestamp::from_micros(1_744_736_100_000_000).expect("in range");
        let code = |text: &str| {
            let body = format!(r#"{{"ad_id":1,"timestamp":"{text}"}}"#);
            let report = parse(&body).expect("valid");
            report.occurred_at(now, &wide).map_err(|refused| refused.code_and_field().0)
        };

        assert_eq!(code("1969-12-31T23:59:59Z"), Err("timestamp_too_old"));
        assert_eq!(code("2200-01-01T00:00:00Z"), Err("timestamp_in_future"));
        assert_eq!(code("9999-12-31T23:59:59Z"), Err("timestamp_in_future"));
        assert!(code("2199-12-31T23:59:59Z").is_ok());
    }
}
