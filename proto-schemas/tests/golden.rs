//! Bytes of earlier releases decode for ever, and the descriptors that other languages load are
//! those of the schema.

use std::{fs, net::IpAddr, path::PathBuf};

use proto_schemas::{AdEvent, AdId, DESCRIPTORS, DedupWindow, EventId, InvalidEvent, Kind};
use proto_schemas::{NewEvent, Timestamp, UserAgent};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn golden(name: &str) -> Vec<u8> {
    fs::read(path("tests/golden").join(name)).expect("the golden file is there")
}

fn micros(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros).expect("in range")
}

/// `full_click.binpb`, written by release 0.1.0: every field is set.
fn full_click() -> AdEvent {
    NewEvent {
        kind: Kind::Click,
        ad_id: AdId::new(42).expect("in range"),
        occurred_at: micros(1_744_736_100_123_456),
        received_at: micros(1_744_736_100_900_001),
        address: "2001:db8::7".parse::<IpAddr>().expect("an address"),
        playback_ms: Some(12_500),
        event_id: Some(EventId::new("player-7/click-1").expect("valid")),
        user_agent: UserAgent::from_header(b"ExamplePlayer/3.1 (TV)"),
    }
    .into_event(DedupWindow::MILLISECOND)
}

/// `bare_impression.binpb`, written by release 0.1.0: only what is always present.
fn bare_impression() -> AdEvent {
    let mut event = NewEvent {
        kind: Kind::Impression,
        ad_id: AdId::new(1).expect("in range"),
        occurred_at: micros(1_574_553_663_979_311),
        received_at: micros(1_574_553_664_000_000),
        address: "198.18.70.88".parse::<IpAddr>().expect("an address"),
        playback_ms: None,
        event_id: None,
        user_agent: None,
    }
    .into_event(DedupWindow::MILLISECOND);
    event.address = None;
    event
}

#[test]
fn events_of_every_release_decode_as_they_were_meant() {
    for (name, event) in
        [("full_click.binpb", full_click()), ("bare_impression.binpb", bare_impression())]
    {
        assert_eq!(AdEvent::decode(&golden(name)).as_ref(), Ok(&event), "{name}");
    }
}

#[test]
fn this_release_writes_the_same_bytes() {
    assert_eq!(full_click().encode(), golden("full_click.binpb"));
    assert_eq!(bare_impression().encode(), golden("bare_impression.binpb"));
}

/// `future_field.binpb` is `bare_impression.binpb` and a field 99 that no release has yet.
#[test]
fn a_field_of_a_later_release_is_passed_over() {
    assert_eq!(AdEvent::decode(&golden("future_field.binpb")), Ok(bare_impression()));
}

#[test]
fn what_is_not_an_event_says_why() {
    let mut bytes = bare_impression().encode();
    assert!(matches!(AdEvent::decode(b"\xff\xff"), Err(InvalidEvent::Malformed(_))));
    assert_eq!(AdEvent::decode(b""), Err(InvalidEvent::DedupKey(0)));

    // A second `kind` (field 3, varint) overrides the first, as protobuf has it.
    bytes.extend([3 << 3, 7]);
    assert_eq!(AdEvent::decode(&bytes), Err(InvalidEvent::Kind(7)));
}

#[test]
fn a_dedup_time_that_belongs_to_another_moment_is_refused() {
    let mut event = bare_impression();
    event.occurred_at = micros(event.occurred_at.as_micros() + 2 * 86_400_000_000);

    let refused = AdEvent::decode(&event.encode());

    assert_eq!(refused, Err(InvalidEvent::DedupTime(event.dedup_time.as_millis())));
}

#[test]
fn a_viewer_is_the_same_by_ipv4_and_by_ipv4_mapped_into_ipv6() {
    let event = |address: &str| {
        NewEvent {
            kind: Kind::Click,
            ad_id: AdId::new(1).expect("in range"),
            occurred_at: micros(1_744_736_100_000_000),
            received_at: micros(1_744_736_100_000_000),
            address: address.parse().expect("an address"),
            playback_ms: None,
            event_id: None,
            user_agent: None,
        }
        .into_event(DedupWindow::MILLISECOND)
    };

    assert_eq!(event("192.0.2.7"), event("::ffff:192.0.2.7"));
}

/// When this fails because the schema has grown: copy the file that the message names.
#[test]
fn the_committed_descriptors_are_those_of_the_schema() {
    let committed = fs::read(path("ad_event.binpb")).expect("ad_event.binpb is committed");
    assert!(
        committed == DESCRIPTORS,
        "ad_event.binpb is out of date: cp target/debug/build/proto-schemas-*/out/ad_event.binpb \
         proto-schemas/"
    );
}
