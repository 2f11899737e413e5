//! Dead letters from their death to their second life.

use proto_schemas::Kind;
use serde_json::{Value, json};

use crate::{
    counting::Counting,
    harness::{event, record},
};

const CLICKS: &str = "SELECT count(*) FROM clicks";

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_an_unknown_ad_counts_once_when_it_is_replayed_after_the_ad_is_registered() {
    let mut counting = Counting::new("deadReplay").await;
    counting.start();
    counting.click(0..3).await;
    // A player's retry dies too.
    counting.click(2..3).await;
    counting.settle(4).await;
    assert_eq!(counting.number(CLICKS).await, 0);

    let early = counting.test.adctl(&["dead", "replay"]).await;
    assert!(
        early.success().contains("4 letters left: nobody has registered the ad (7)"),
        "{early:?}"
    );

    counting.register().await;
    let dry = counting.test.adctl(&["dead", "replay", "--dry-run"]).await;
    assert!(
        dry.success().starts_with("3 letters would be put back\n1 letter of an event"),
        "{dry:?}"
    );
    let said = counting.test.adctl(&["dead", "replay"]).await;
    assert!(said.success().starts_with("3 letters put back\n1 letter of an event"), "{said:?}");
    counting.settle(7).await;
    assert_eq!(counting.number(CLICKS).await, 3);

    let again = counting.test.adctl(&["dead", "replay"]).await;
    let nothing = "0 letters put back\n4 letters stored already: not sent again";
    assert_eq!(again.success(), nothing);
    counting.settle(7).await;
    counting.test.adctl(&["audit"]).await.success();
    counting.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replays_before_the_consumer_comes_count_once() {
    let mut counting = Counting::new("deadTwice").await;
    counting.start();
    counting.click(0..5).await;
    counting.settle(5).await;
    counting.stop().await;
    counting.register().await;

    for _ in 0..2 {
        let said = counting.test.adctl(&["dead", "replay"]).await;
        assert_eq!(said.success(), "5 letters put back");
    }
    counting.start();
    counting.settle(15).await;

    assert_eq!(counting.number(CLICKS).await, 5);
    let duplicates = "SELECT sum(duplicates)::bigint FROM partition_ledger";
    assert_eq!(counting.number(duplicates).await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_listed_once_and_what_would_die_again_is_left_alone_unless_named() {
    let mut counting = Counting::new("deadList").await;
    counting.register().await;
    let (impression, click) = (event(Kind::Impression, 1), event(Kind::Click, 2));
    let garbage = (b"any key".to_vec(), b"\xff no event".to_vec());
    counting.test.produce(Kind::Click, &[garbage, record(&impression), record(&click)]).await;
    counting.start();
    counting.settle(3).await;
    let topic = counting.clicks_at().topic.to_string();

    let said = counting.test.adctl(&["dead", "list", "--json"]).await;
    let lines: Vec<Value> =
        said.success().lines().map(|it| serde_json::from_str(it).expect("JSON")).collect();
    assert_eq!(lines.len(), 2, "{said:?}");
    let field = |name| lines.iter().map(|it| it[name].clone()).collect::<Vec<_>>();
    assert_eq!(field("topic"), [json!(topic), json!(topic)]);
    assert_eq!(field("offset"), [json!(0), json!(1)]);
    assert_eq!(field("reason"), [json!("undecodable"), json!("wrong_topic")]);
    assert_eq!(field("size_bytes")[0], json!(10));
    assert_eq!((&lines[0]["event"], &lines[1]["event"]["ad_id"]), (&Value::Null, &json!(7)));
    let table = counting.test.adctl(&["dead", "list", "--limit", "1"]).await;
    assert!(table.success().contains(&format!("{topic}/0/0")), "{table:?}");
    assert!(table.err.contains("there are more than 1"), "{table:?}");

    let replayed = counting.test.adctl(&["dead", "replay"]).await;
    let expected = "1 letter put back\n1 letter left: undecodable dies again as it is; --reason \
                    undecodable takes it";
    assert_eq!(replayed.success(), expected);
    counting.settle(4).await;
    assert_eq!(counting.number("SELECT count(*) FROM impressions").await, 1);

    // Named, it dies once more, of another origin.
    let origin = format!("{topic}/0/0");
    let named = counting.test.adctl(&["dead", "replay", "--origin", &origin]).await;
    assert_eq!(named.success(), "1 letter put back");
    counting.settle(5).await;
    let list = counting.test.adctl(&["dead", "list", "--reason", "undecodable"]).await;
    assert!(list.success().contains(&format!("{topic}/0/3")), "{list:?}");
    let both = counting.test.adctl(&["dead", "replay", "--reason", "undecodable"]).await;
    let expected = "1 letter put back\n1 letter of an event that another one holds";
    assert_eq!(both.success(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_too_large_to_be_kept_cannot_be_replayed() {
    let mut counting = Counting::new("deadLarge").await;
    // Kafka counts bytes after compression, a producer before: zeros pass the one and not the other.
    counting.test.produce(Kind::Click, &[(b"large".to_vec(), vec![0; 20_000_000])]).await;
    counting.start();
    counting.settle(1).await;

    let said = counting.test.adctl(&["dead", "replay", "--reason", "undecodable"]).await;

    assert_eq!(said.code, Some(1), "{said:?}");
    let origin = format!("{}/0", counting.clicks_at());
    let expected = "1 letter without a value, which was too large to be kept";
    assert!(said.out.contains(expected) && said.out.contains(&origin), "{said:?}");
    let list = counting.test.adctl(&["dead", "list", "--json"]).await;
    assert_eq!(list.json()["size_bytes"], Value::Null);
}

#[tokio::test]
async fn an_origin_that_no_letter_has_is_an_error() {
    let counting = Counting::new("deadOrigin").await;

    let said = counting.test.adctl(&["dead", "replay", "--origin", "ad-clicks/0/7"]).await;
    assert!(said.failure().contains("no dead letter has the origin ad-clicks/0/7"), "{said:?}");

    let said = counting.test.adctl(&["dead", "list"]).await;
    assert_eq!((said.success(), said.err.contains("there are no dead letters")), ("", true));
}
