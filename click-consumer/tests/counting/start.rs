//! Where a partition starts: where Postgres says, and only on the very log that was counted.

use std::time::Duration;

use proto_schemas::Kind;
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
};

use crate::harness::{Pipeline, eventually};

async fn make_topic_again(test: &Pipeline, kind: Kind) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", &test.scope.stack.kafka_brokers)
        .create()
        .expect("an admin client");
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
async fn a_consumer_started_before_its_topics_counts_them_once_they_are_there() {
    let mut test = Pipeline::without_topics("early").await;
    let consumer = test.start_consumer();

    test.make_topics(2).await;
    test.send_clicks(0..3).await;
    test.settle(3).await;

    test.stop(consumer).await;
}
