//! What can never count goes to the dead-letter topic, with its origin and the reason.

use std::{collections::BTreeMap, time::Duration};

use proto_schemas::{Kind, Timestamp, headers::dead};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::Headers,
};

use crate::harness::{Pipeline, event, event_at, eventually};

/// A dead letter: its headers, and the record's key and value.
type Letter = (BTreeMap<String, String>, Option<Vec<u8>>, Option<Vec<u8>>);

/// Reads the first `count` dead letters.
fn dead_letters(test: &Pipeline, count: usize) -> Vec<Letter> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &test.scope.stack.kafka_brokers)
        .set("group.id", "none")
        .create()
        .expect("a consumer");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(test.scope.topics().dead(), 0, Offset::Beginning).expect("valid");
    consumer.assign(&list).expect("assigned");

    let mut letters = Vec::new();
    while letters.len() < count {
        let message = consumer.poll(Duration::from_mins(1)).expect("a letter").expect("readable");
        let headers = message.headers().expect("headers").iter();
        let utf8 = |value: &[u8]| String::from_utf8(value.to_vec()).expect("text");
        letters.push((
            headers.map(|it| (it.key.to_owned(), utf8(it.value.expect("a value")))).collect(),
            message.key().map(<[u8]>::to_vec),
            message.payload().map(<[u8]>::to_vec),
        ));
    }
    letters
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_can_never_count_becomes_a_dead_letter_and_the_others_count() {
    let mut test = Pipeline::new("dead", 1).await;
    let now = Timestamp::now().as_micros();
    let impression = event(Kind::Impression, 1, 2);
    test.send(&event(Kind::Click, 1, 0)).await;
    test.send_raw(Kind::Click, b"any key", b"\xff no event").await;
    test.send(&event(Kind::Click, 99, 1)).await;
    test.send_raw(Kind::Click, impression.dedup_key.as_bytes(), &impression.encode()).await;
    test.send(&event_at(Kind::Click, 1, 3, now - 8 * 86_400_000_000)).await;
    test.send(&event_at(Kind::Click, 1, 4, now + 3_600_000_000)).await;
    test.send(&event(Kind::Click, 2, 5)).await;

    let consumer = test.start_consumer();
    test.settle(7).await;

    assert_eq!(test.number("SELECT count(*) FROM clicks").await, 2);
    assert_eq!(test.number("SELECT sum(dead)::bigint FROM partition_ledger").await, 5);
    let mut letters = dead_letters(&test, 5);
    letters.sort_by_key(|(headers, ..)| headers[dead::OFFSET].clone());
    let origin =
        |(headers, ..): &Letter| (headers[dead::OFFSET].clone(), headers[dead::REASON].clone());
    let expected = [
        ("1", "undecodable"),
        ("2", "unknown_ad"),
        ("3", "wrong_topic"),
        ("4", "too_old"),
        ("5", "too_far_ahead"),
    ];
    assert_eq!(
        letters.iter().map(origin).collect::<Vec<_>>(),
        expected.map(|(offset, reason)| (offset.to_owned(), reason.to_owned()))
    );
    let (headers, key, value) = &letters[0];
    assert_eq!(headers[dead::TOPIC], test.scope.topics().of(Kind::Click));
    assert_eq!(headers[dead::PARTITION], "0");
    assert_eq!(key.as_deref(), Some(b"any key".as_slice()));
    assert_eq!(value.as_deref(), Some(b"\xff no event".as_slice()), "the bytes are untouched");
    test.stop(consumer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_too_large_to_be_sent_again_leaves_its_origin() {
    let mut test = Pipeline::new("large", 1).await;
    // Kafka counts bytes after compression, a producer before: zeros pass the one and not the other.
    test.send_raw(Kind::Click, b"large", &vec![0; 20_000_000]).await;
    test.send_clicks(0..3).await;

    let consumer = test.start_consumer();
    test.settle(4).await;

    assert_eq!(test.number("SELECT count(*) FROM clicks").await, 3);
    let (headers, key, value) = &dead_letters(&test, 1)[0];
    assert_eq!(headers[dead::OFFSET], "0");
    assert!(headers[dead::DETAIL].ends_with("20000000 bytes are too many to be kept here"));
    assert_eq!((key.as_deref(), value), (Some(b"large".as_slice()), &None));
    test.stop(consumer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_postgres_refuses_is_isolated_and_the_rest_of_its_batch_counts() {
    let mut test = Pipeline::new("refused", 2).await;
    test.execute("ALTER TABLE clicks ADD CONSTRAINT not_13 CHECK (event_id <> 'event-13')").await;
    test.send_clicks(0..40).await;

    let consumer = test.start_consumer();
    test.settle(40).await;

    assert_eq!(test.number("SELECT count(*) FROM clicks").await, 39);
    let (headers, ..) = &dead_letters(&test, 1)[0];
    assert_eq!(headers[dead::REASON], "refused");
    assert!(headers[dead::DETAIL].contains("not_13"), "{headers:?}");
    test.stop(consumer).await;
}

/// What is wrong with the server, or with our rights on it, is no fault of a record: it waits.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_postgres_kills_no_record() {
    // Connection, transaction state, serialization, deadlock, rights, missing table, disk, memory,
    // connections, limits, locks, shutdown, crash, start, time limit, input and output, corruption.
    const STATES: [&str; 18] = [
        "08006", "25006", "40001", "40P01", "42501", "42P01", "53100", "53200", "53300", "54000",
        "55P03", "57P01", "57P02", "57P03", "57014", "58030", "XX000", "XX001",
    ];
    let mut test = Pipeline::new("trouble", 1).await;
    test.execute(
        "CREATE TABLE trouble (state text);
         CREATE SEQUENCE tries;
         CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
         DECLARE
             sqlstate_now text := (SELECT state FROM trouble);
         BEGIN
             -- A sequence is not rolled back.
             PERFORM nextval('tries');
             IF sqlstate_now IS NOT NULL THEN
                 RAISE EXCEPTION 'a test' USING ERRCODE = sqlstate_now;
             END IF;
             RETURN NEW;
         END
         $$;
         CREATE TRIGGER fail BEFORE INSERT ON clicks FOR EACH ROW EXECUTE FUNCTION fail()",
    )
    .await;
    let tries = "SELECT last_value FROM tries";
    let consumer = test.start_consumer();

    for (id, state) in (0..).zip(STATES) {
        test.execute(&format!("INSERT INTO trouble VALUES ('{state}')")).await;
        let before = test.number(tries).await;
        test.send_clicks([id]).await;
        eventually("it is tried again", async || test.number(tries).await >= before + 2).await;
        test.execute("DELETE FROM trouble").await;
        test.settle(id.cast_signed() + 1).await;
    }

    assert_eq!(test.number("SELECT sum(dead)::bigint FROM partition_ledger").await, 0);
    assert_eq!(letters_there(&test), 0);
    test.stop(consumer).await;
}

/// How many dead letters were ever written.
fn letters_there(test: &Pipeline) -> i64 {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &test.scope.stack.kafka_brokers)
        .create()
        .expect("a consumer");
    let topics = test.scope.topics();
    let ends = consumer.fetch_watermarks(topics.dead(), 0, Duration::from_mins(1));
    ends.expect("Kafka answers").1
}
