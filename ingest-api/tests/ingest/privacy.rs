//! What of a viewer's address is on the topic.

use std::collections::BTreeSet;

use local_stack::testing::{Scope, stack};
use proto_schemas::{AdEvent, Kind};
use reqwest::StatusCode;
use serde_json::Value;

use crate::harness::{TestIngest, decoded, event, records};

const SECRET: (&str, &str) = ("DEDUP_KEY_SECRET", "0123456789abcdef0123456789abcdef");

/// Lets a request say which address it comes from.
const PROXIES: (&str, &str) = ("TRUSTED_PROXIES", "127.0.0.0/8");

/// Posts one click for each list of headers, and returns what is then on the topic.
async fn posted(
    scope: &Scope,
    settings: &[(&str, &str)],
    click: &Value,
    senders: &[&[(&str, &str)]],
) -> Vec<AdEvent> {
    let ingest = TestIngest::start(scope, &[settings, &[PROXIES]].concat()).await;
    for headers in senders {
        let answer = ingest.post("/ads/click", click, headers).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    }
    records(scope, Kind::Click, senders.len()).await.iter().map(decoded).collect()
}

/// An event that is the same as another by its address alone.
fn without_id() -> Value {
    let mut event = event();
    event.as_object_mut().expect("an object").remove("event_id");
    event
}

fn addresses(events: &[AdEvent]) -> BTreeSet<Option<String>> {
    events.iter().map(|it| it.address.map(|it| it.to_string())).collect()
}

fn keys(events: &[AdEvent]) -> usize {
    events.iter().map(|it| it.dedup_key.to_string()).collect::<BTreeSet<_>>().len()
}

#[tokio::test]
async fn where_addresses_are_truncated_neighbours_stay_apart_and_a_retry_stays_the_same() {
    let scope = stack().scope("truncate");
    let click = without_id();
    let senders: [&[_]; 4] = [
        &[("x-forwarded-for", "203.0.113.77")],
        &[("x-forwarded-for", "203.0.113.77")],
        &[("x-forwarded-for", "203.0.113.78")],
        &[("x-forwarded-for", "2001:db8:1:2::3")],
    ];

    let events = posted(&scope, &[("IP_PRIVACY", "truncate"), SECRET], &click, &senders).await;

    let networks = ["203.0.113.0", "2001:db8:1::"].map(|it| Some(it.to_owned()));
    assert_eq!(addresses(&events), networks.into());
    assert_eq!(keys(&events), 3);
}

#[tokio::test]
async fn where_no_address_is_kept_there_is_none_and_viewers_stay_apart() {
    let scope = stack().scope("noaddress");
    let click = without_id();
    let senders: [&[_]; 3] = [
        &[("x-forwarded-for", "203.0.113.77")],
        &[("x-forwarded-for", "203.0.113.77")],
        &[("x-forwarded-for", "203.0.113.78")],
    ];

    let events = posted(&scope, &[("IP_PRIVACY", "none"), SECRET], &click, &senders).await;

    assert_eq!(addresses(&events), [None].into());
    assert_eq!(keys(&events), 2);
}

#[tokio::test]
async fn a_viewer_who_asks_for_privacy_leaves_no_address_where_that_is_honored() {
    let senders: [&[_]; 4] = [
        &[("x-forwarded-for", "203.0.113.1"), ("dnt", "1")],
        &[("x-forwarded-for", "203.0.113.2"), ("sec-gpc", "1")],
        &[("x-forwarded-for", "203.0.113.3"), ("dnt", "0")],
        &[("x-forwarded-for", "203.0.113.4")],
    ];
    let own = |last: u8| Some(format!("203.0.113.{last}"));

    let honored = stack().scope("honored");
    let settings = [("HONOR_PRIVACY_SIGNALS", "true"), SECRET];
    let events = posted(&honored, &settings, &event(), &senders).await;
    assert_eq!(addresses(&events), [None, own(3), own(4)].into());

    let ignored = stack().scope("ignored");
    let events = posted(&ignored, &[], &event(), &senders).await;
    assert_eq!(addresses(&events), [own(1), own(2), own(3), own(4)].into());
}
