//! How rows get in: by COPY where all are new, by INSERT where that was an error.

use std::net::IpAddr;

use click_store::RecentEvents;
use proto_schemas::{AdEvent, Kind, UserAgent};

use crate::harness::{Stores, clicks, count, count_after, event};

#[tokio::test]
async fn of_two_that_are_the_same_the_first_is_stored() {
    let stores = Stores::new("first").await;
    stores.see_partitions(1).await;
    let again = [2, 1, 2, 1].map(|it| event(Kind::Click, 1, it)).to_vec();

    count(&stores.pool, &[stores.batch(Kind::Click, 0, 0, again)]).await.unwrap();

    let offsets = "SELECT array_agg(kafka_offset ORDER BY kafka_offset) FROM clicks";
    assert_eq!(stores.one::<Vec<i64>>(offsets).await, [0, 1]);
}

#[tokio::test]
async fn events_that_are_new_are_copied_also_beside_some_that_a_consumer_remembers() {
    let (stores, mut recent) = (Stores::new("copied").await, RecentEvents::default());
    stores.see_partitions(1).await;
    log_statements(&stores).await;
    let first = [stores.batch(Kind::Click, 0, 0, clicks(1, 0..50))];
    let half_of_it_again = [stores.batch(Kind::Click, 0, 50, clicks(1, 25..75))];

    count_after(&stores.pool, &first, &mut recent).await.unwrap();
    let second = count_after(&stores.pool, &half_of_it_again, &mut recent).await.unwrap();

    assert_eq!(second.new_events(), 25);
    assert_eq!(stored_by(&stores, "COPY").await, 75);
    assert_eq!(stores.one::<i64>("SELECT count(*) FROM clicks").await, 75);
}

#[tokio::test]
async fn an_event_that_a_consumer_does_not_remember_makes_insert_do_it_for_a_while() {
    let (stores, mut recent) = (Stores::new("surprise").await, RecentEvents::default());
    stores.see_partitions(1).await;
    log_statements(&stores).await;
    let by_another = [stores.batch(Kind::Click, 0, 0, clicks(1, 0..10))];
    count(&stores.pool, &by_another).await.unwrap();
    assert_eq!(stored_by(&stores, "COPY").await, 10);

    let surprise = [stores.batch(Kind::Click, 0, 10, clicks(1, 9..20))];
    let counted = count_after(&stores.pool, &surprise, &mut recent).await.unwrap();
    assert_eq!(counted.new_events(), 10, "the one that was there is not new, and the others are");
    assert_eq!(stored_by(&stores, "WITH new").await, 10);

    let mut next = 21;
    for round in 0..17_u32 {
        let new = 100 + round * 10;
        let batch = [stores.batch(Kind::Click, 0, next, clicks(1, new..new + 10))];
        let counted = count_after(&stores.pool, &batch, &mut recent).await.unwrap();
        assert_eq!(counted.new_events(), 10);
        next += 10;
    }
    assert_eq!(stored_by(&stores, "WITH new").await, 170, "16 batches more");
    assert_eq!(stored_by(&stores, "COPY").await, 20, "and the last one is copied");
    assert_eq!(stores.one::<i64>("SELECT sum(events)::bigint FROM ad_totals").await, 190);
    assert_eq!(stores.one::<i64>("SELECT sum(duplicates)::bigint FROM partition_ledger").await, 1);
}

#[tokio::test]
async fn what_was_rolled_back_is_remembered_and_stored_all_the_same() {
    let (stores, mut recent) = (Stores::new("rolledback").await, RecentEvents::default());
    stores.see_partitions(1).await;
    let batch = [stores.batch(Kind::Click, 0, 0, clicks(1, 0..10))];
    stores.execute("ALTER TABLE ad_totals RENAME TO away").await;
    count_after(&stores.pool, &batch, &mut recent).await.unwrap_err();
    stores.execute("ALTER TABLE away RENAME TO ad_totals").await;

    let counted = count_after(&stores.pool, &batch, &mut recent).await.unwrap();

    assert_eq!(counted.new_events(), 10);
}

#[tokio::test]
async fn a_row_is_the_same_by_copy_and_by_insert() {
    let (stores, mut recent) = (Stores::new("samerow").await, RecentEvents::default());
    stores.see_partitions(1).await;
    log_statements(&stores).await;
    let whole = event(Kind::Click, 3, 1);
    let ipv6: IpAddr = "2001:db8::9".parse().unwrap();
    let events = vec![
        AdEvent { user_agent: UserAgent::from_header("é".as_bytes()), ..whole.clone() },
        AdEvent { address: Some(ipv6), playback_ms: None, ..event(Kind::Click, 1, 2) },
        AdEvent { address: None, event_id: None, ..event(Kind::Click, 2, 3) },
    ];
    let rows = "SELECT array_agg(clicks::text ORDER BY kafka_offset) FROM clicks";

    let batch = [stores.batch(Kind::Click, 0, 0, events)];
    count_after(&stores.pool, &batch, &mut recent).await.unwrap();
    let copied: Vec<String> = stores.one(rows).await;
    // Counted once more from the beginning, by a consumer that has met a surprise.
    stores.execute("DELETE FROM clicks WHERE kafka_offset > 0").await;
    stores.execute("UPDATE consumer_offsets SET next_offset = 0").await;
    count(&stores.pool, &batch).await.unwrap();
    let inserted: Vec<String> = stores.one(rows).await;

    assert_eq!(stored_by(&stores, "WITH new").await, 2);
    assert_eq!(copied, inserted);
    assert!(copied[0].contains("203.0.113.9,1,e1,é,0,0"), "{copied:?}");
    assert!(copied[1].contains("2001:db8::9,,e2,,0,1"), "{copied:?}");
    assert!(copied[2].contains(",,3,,,0,2"), "{copied:?}");
}

#[tokio::test]
async fn a_batch_of_the_longest_rows_is_copied_whole() {
    let stores = Stores::new("longest").await;
    stores.see_partitions(1).await;
    log_statements(&stores).await;
    let agent = UserAgent::from_header("x".repeat(600).as_bytes());
    let long = |it| AdEvent { user_agent: agent.clone(), ..it };
    let batch =
        [stores.batch(Kind::Click, 0, 0, clicks(1, 0..500).into_iter().map(long).collect())];

    assert_eq!(count(&stores.pool, &batch).await.unwrap().new_events(), 500);

    assert_eq!(stored_by(&stores, "COPY").await, 500);
    let length = "SELECT min(length(user_agent)) FROM clicks";
    assert_eq!(stores.one::<i32>(length).await, 512);
}

/// Has each row of `clicks` say by which statement it came.
async fn log_statements(stores: &Stores) {
    stores
        .execute(
            "CREATE TABLE statements (statement text);
             CREATE FUNCTION log_statement() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 INSERT INTO statements VALUES (current_query());
                 RETURN NULL;
             END $$;
             CREATE TRIGGER log AFTER INSERT ON clicks FOR EACH ROW EXECUTE FUNCTION log_statement()",
        )
        .await;
}

/// How many rows came by statements that begin so.
async fn stored_by(stores: &Stores, statement: &str) -> i64 {
    let count = format!("SELECT count(*) FROM statements WHERE statement LIKE '{statement}%'");
    stores.one(&count).await
}
