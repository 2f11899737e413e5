//! Whatever event goes onto Kafka comes off it as it was, and other bytes are no event or one as good.

use std::{net::IpAddr, time::Duration};

use proptest::{option, prelude::*};
use proto_schemas::{AdEvent, AdId, DedupSecret, DedupWindow, EventId, KeptAddress, Kind};
use proto_schemas::{MAX_PLAYBACK_MS, NewEvent, Timestamp, UserAgent};

/// 2199-12-31T23:59:59.999999Z.
const LAST_MICROS: i64 = 7_258_118_399_999_999;

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Click), Just(Kind::Impression)]
}

fn moments() -> impl Strategy<Value = Timestamp> {
    (0..=LAST_MICROS).prop_map(|micros| Timestamp::from_micros(micros).expect("in range"))
}

fn windows() -> impl Strategy<Value = DedupWindow> {
    (1..=86_400_000_u64)
        .prop_map(|ms| DedupWindow::new(Duration::from_millis(ms)).expect("in range"))
}

fn kept() -> impl Strategy<Value = KeptAddress> {
    let secret = DedupSecret::new(&[7; 32]).expect("long enough");
    prop_oneof![
        Just(KeptAddress::Full),
        Just(KeptAddress::Network(secret.clone())),
        Just(KeptAddress::Nothing(secret)),
    ]
}

prop_compose! {
    fn new_events()(
        kind in kinds(),
        ad_id in 1..=AdId::MAX,
        occurred_at in moments(),
        received_at in moments(),
        address in any::<IpAddr>(),
        playback_ms in option::of(0..=MAX_PLAYBACK_MS),
        event_id in option::of("[!-~]{1,64}"),
        user_agent in option::of(any::<Vec<u8>>()),
    ) -> NewEvent {
        NewEvent {
            kind,
            ad_id: AdId::new(ad_id).expect("in range"),
            occurred_at,
            received_at,
            address,
            playback_ms,
            event_id: event_id.map(|it| EventId::new(it).expect("visible")),
            user_agent: user_agent.and_then(|it| UserAgent::from_header(&it)),
        }
    }
}

proptest! {
    #[test]
    fn an_event_comes_back_from_its_bytes(
        event in new_events(),
        window in windows(),
        kept in kept(),
    ) {
        let event = event.into_event_keeping(window, &kept);

        prop_assert_eq!(AdEvent::decode(&event.encode()), Ok(event));
    }

    #[test]
    fn what_can_be_decoded_is_an_event_that_comes_back(
        event in new_events(),
        window in windows(),
        damage in any::<(prop::sample::Index, u8)>(),
    ) {
        let mut bytes = event.into_event(window).encode();
        let (at, byte) = damage;
        let at = at.index(bytes.len());
        bytes[at] = byte;

        if let Ok(other) = AdEvent::decode(&bytes) {
            prop_assert_eq!(AdEvent::decode(&other.encode()), Ok(other));
        }
    }

    #[test]
    fn no_bytes_are_too_strange_to_be_looked_at(bytes in any::<Vec<u8>>()) {
        if let Ok(event) = AdEvent::decode(&bytes) {
            prop_assert_eq!(AdEvent::decode(&event.encode()), Ok(event));
        }
    }
}
