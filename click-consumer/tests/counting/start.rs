//! Where a partition starts: where Postgres says, and only on the very log that was counted.

use std::time::Duration;

use proto_schemas::Kind;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
};

use crate::harness::{Pipeline, eventually};

fn admin(test: &Pipeline) -> AdminClient<DefaultClientContext> {
    ClientConfig::new()
        .set("bootstrap.servers", &test.scope.stack.kafka_brokers)
        .create()
        .expect("an admin client")
}

/// Lets the first records of every partition of the clicks' topic expire.
async fn expire_up_to(test: &Pipeline, partitions: i32, offset: i64) {
    let (topics, mut list) = (test.scope.topics(), TopicPartitionList::new());
    for partition in 0..partitions {
        list.add_partition_offset(topics.of(Kind::Click), partition, Offset::Offset(offset))
            .expect("valid");
    }
    let deleted = admin(test).delete_records(&list, &AdminOptions::new()).await.expect("deleted");
    assert!(deleted.elements().iter().all(|it| it.error().is_ok()));
}

async fn make_topic_again(test: &Pipeline, kind: Kind) {
    let admin = admin(test);
    let (topics, brokers) = (test.scope.topics(), test.scope.stack.kafka_brokers.clone());
    let topic = topics.of(kind);
    admin.delete_topics(&[topic], &AdminOptions::new()).await.expect("deleted");
    eventually("the topic is gone", async || {
        let asker: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", &brokers).create().expect("a consumer");
        let metadata = asker.fetch_metadata(None, Duration::from_secs(10)).expect("metadata");
        metadata.topics().iter().all(|it| it.name() != topic)
    })
    .await;
    test.scope.create_topics(&[(topic, 1)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_made_again_and_grew_past_the_old_offset_is_not_counted() {
    let mut test = Pipeline::new("again", 1).await;
    let consumer = test.start_consumer();
    test.send_clicks(0..5).await;
    test.settle(5).await;
    test.stop(consumer).await;

    make_topic_again(&test, Kind::Click).await;
    test.send_clicks(100..120).await;
    let consumer = test.start_consumer();
    test.send(&crate::harness::event(Kind::Impression, 1, 1)).await;
    eventually("the other topic is counted", async || {
        test.number("SELECT count(*) FROM impressions").await == 1
    })
    .await;

    assert_eq!(test.number("SELECT count(*) FROM clicks").await, 5, "nothing is counted on it");
    test.stop(consumer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_made_again_under_a_running_consumer_is_not_counted() {
    let mut test = Pipeline::new("under", 1).await;
    let consumer = test.start_consumer();
    test.send_clicks(0..5).await;
    test.settle(5).await;

    make_topic_again(&test, Kind::Click).await;
    test.send_clicks(100..150).await;
    // Each impression gives the other topic's new records time to be read, and counted wrongly.
    for id in 0..20 {
        test.send(&crate::harness::event(Kind::Impression, 1, id)).await;
        eventually("the other topic is counted", async || {
            test.number("SELECT count(*) FROM impressions").await == i64::try_from(id + 1).unwrap()
        })
        .await;
    }

    assert_eq!(test.number("SELECT count(*) FROM clicks").await, 5, "nothing is counted on it");
    test.stop(consumer).await;
}

/// Every topic that is older than its retention begins later than at 0.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_counted_records_have_expired_is_counted_on() {
    let mut test = Pipeline::new("expired", 1).await;
    let first = test.start_consumer();
    test.send_clicks(0..10).await;
    test.settle(10).await;
    test.stop(first).await;

    expire_up_to(&test, 1, 8).await;
    test.send_clicks(10..15).await;
    let second = test.start_consumer();
    test.settle(15).await;
    test.stop(second).await;

    // Now the record that was counted last has expired too, and nothing after it.
    expire_up_to(&test, 1, 15).await;
    test.send_clicks(15..20).await;
    let third = test.start_consumer();
    test.settle(20).await;

    assert_eq!(test.number("SELECT count(*) FROM clicks").await, 20);
    test.stop(third).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_lost_uncounted_records_is_not_counted_on() {
    let mut test = Pipeline::new("lost", 1).await;
    let first = test.start_consumer();
    test.send_clicks(0..5).await;
    test.settle(5).await;
    test.stop(first).await;

    test.send_clicks(5..10).await;
    expire_up_to(&test, 1, 7).await;
    let second = test.start_consumer();
    test.send(&crate::harness::event(Kind::Impression, 1, 1)).await;
    eventually("the other topic is counted", async || {
        test.number("SELECT count(*) FROM impressions").await == 1
    })
    .await;

    assert_eq!(test.number("SELECT count(*) FROM clicks").await, 5);
    test.stop(second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_started_before_its_topics_counts_them_once_they_are_there() {
    let mut test = Pipeline::without_topics("early").await;
    let consumer = test.start_consumer();

    test.make_topics(2).await;
    test.send_clicks(0..3).await;
    test.settle(3).await;

    test.stop(consumer).await;
}
