//! `adctl audit` against a pipeline that counts.

use serde_json::json;

use crate::counting::Counting;

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_pipeline_is_accounted_for_under_traffic_and_at_rest() {
    let counting = Counting::with_clicks("auditHealthy", 10).await;

    let traffic = counting.click(10..1500);
    let audits = async {
        for _ in 0..3 {
            let said = counting.test.adctl(&["audit"]).await;
            assert!(said.success().ends_with("everything is accounted for"), "{said:?}");
        }
    };
    tokio::join!(traffic, audits);
    counting.settle(1500).await;

    let said = counting.test.adctl(&["audit", "--json"]).await;
    said.success();
    let report = said.json();
    assert_eq!(report["accounted_for"], json!(true));
    let clicks = &report["partitions"][0];
    for (field, expected) in [
        ("log_end", json!(1500)),
        ("next_offset", json!(1500)),
        ("lag", json!(0)),
        ("stored", json!(1500)),
        ("rows", json!(1500)),
        ("totals", json!(1500)),
        ("redis", json!("equal")),
        ("differences", json!([])),
    ] {
        assert_eq!(clicks[field], expected, "{field} of {clicks}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_by_hand_is_found_and_said() {
    let mut counting = Counting::with_clicks("auditPlanted", 10).await;
    // The consumer would mend some of it.
    counting.stop().await;
    let planted = [
        ("DELETE FROM clicks WHERE event_id = 'event-3'", "9 rows, 10 in the totals"),
        ("UPDATE ad_totals SET events = 12", "10 stored, 12 in the totals"),
        ("UPDATE partition_ledger SET dead = 4 WHERE stored > 0", "the ledger has 4 too many"),
        (
            "UPDATE consumer_offsets SET next_offset = 15 WHERE next_offset > 0",
            "it was cut or made again",
        ),
    ];

    for (sql, expected) in planted {
        counting.execute(sql).await;
        let said = counting.test.adctl(&["audit"]).await;
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.out.contains(expected), "{expected} is not in\n{}", said.out);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_missing_is_beyond_a_quick_audit() {
    let counting = Counting::with_clicks("auditQuick", 10).await;
    counting.execute("DELETE FROM clicks WHERE event_id = 'event-3'").await;

    assert!(counting.test.adctl(&["audit", "--quick"]).await.success().contains("accounted for"));
    let said = counting.test.adctl(&["audit", "--json"]).await;

    assert_eq!(said.code, Some(1), "{said:?}");
    let expected = json!(["9 rows, 10 in the totals", "ad 7: 9 rows, 10 in its total"]);
    assert_eq!(said.json()["partitions"][0]["differences"], expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_says_something_else_or_more_is_found() {
    let mut counting = Counting::with_clicks("auditRedis", 10).await;
    counting.stop().await;

    counting.falsify_redis(|totals| totals.events[0].1 += 1).await;
    let said = counting.test.adctl(&["audit"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("Redis differs in 1 ads"), "{}", said.out);

    counting.falsify_redis(|totals| totals.next_offset += 5).await;
    let said = counting.test.adctl(&["audit"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("Redis is 5 ahead"), "{}", said.out);

    counting.falsify_redis(|totals| totals.next_offset -= 5).await;
    let said = counting.test.adctl(&["audit"]).await;
    assert!(said.success().contains("moving, 5 behind"), "{}", said.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_begins_anew_as_the_document_says_is_accounted_for() {
    let mut counting = Counting::with_clicks("auditAnew", 10).await;
    counting.stop().await;
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ARCHITECTURE.md");
    let document = std::fs::read_to_string(document).expect("there");
    let (_, statements) = document.split_once("```sql\n").expect("the statements");
    let (statements, _) = statements.split_once("```").expect("an end");
    let topic = counting.clicks_at().topic;
    let statements = statements.replace("'ad-clicks'", &format!("'{topic}'"));

    counting.execute(&statements.replace("kafka_partition = 3", "kafka_partition = 0")).await;
    assert_eq!(counting.totals().await.map(|it| it.next_offset), Some(0));
    // Counting without an epoch of its own would leave Redis ahead: its owner renews it.
    counting.start();
    counting.settle(10).await;

    assert!(counting.test.adctl(&["audit"]).await.success().contains("accounted for"));
    let duplicates = "SELECT sum(duplicates)::bigint FROM partition_ledger";
    assert_eq!(counting.number(duplicates).await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_found_out_has_a_code_of_its_own() {
    let counting = Counting::with_clicks("auditAway", 3).await;

    let away = counting.test.adctl_with_env(("KAFKA_BROKERS", "127.0.0.1:1"), &["audit"]).await;
    assert_eq!(away.code, Some(2), "{away:?}");
    assert!(away.out.contains("? Kafka at 127.0.0.1:1 does not answer"), "{}", away.out);

    let redis = ("REDIS_URL", "redis://127.0.0.1:1");
    let away = counting.test.adctl_with_env(redis, &["audit"]).await;
    assert_eq!(away.code, Some(2), "{away:?}");
    assert!(away.out.contains("? Redis at 127.0.0.1:1 does not answer"), "{}", away.out);

    let postgres = ("DATABASE_URL", "postgres://ads@127.0.0.1:1/ads");
    let away = counting.test.adctl_with_env(postgres, &["audit"]).await;
    assert_eq!(away.code, Some(2), "{away:?}");
    assert!(away.err.contains("Postgres at 127.0.0.1:1 cannot be reached"), "{away:?}");

    // A difference weighs more.
    counting.execute("UPDATE ad_totals SET events = 12").await;
    let both = counting.test.adctl_with_env(("KAFKA_BROKERS", "127.0.0.1:1"), &["audit"]).await;
    assert_eq!(both.code, Some(1), "{both:?}");
}
