//! `adctl topics` against real Kafka.

use proto_schemas::{Kind, topics::DEAD_PARTITIONS};
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer as _},
};

use crate::harness::{PATIENCE, Test};

#[tokio::test]
async fn topics_are_made_once() {
    let test = Test::new("topics");
    let topics = test.scope.topics();

    let first = test.adctl(&["topics", "create", "--partitions", "5"]).await;
    let second = test.adctl(&["topics", "create"]).await;

    let lines = |what| {
        [topics.of(Kind::Click), topics.of(Kind::Impression), topics.dead()]
            .map(|it| format!("{it}: {what}"))
            .join("\n")
    };
    assert_eq!(first.success(), lines("made"));
    assert_eq!(second.success(), lines("there already, left as it is"));
    assert_eq!(partitions(&test, topics.of(Kind::Click)).await, 5);
    assert_eq!(partitions(&test, topics.of(Kind::Impression)).await, 5);
    assert_eq!(partitions(&test, topics.dead()).await, usize::try_from(DEAD_PARTITIONS).unwrap());
}

#[tokio::test]
async fn what_kafka_refuses_is_an_error() {
    let test = Test::new("topicsRefused");

    let said = test.adctl(&["topics", "create", "--replication", "3"]).await;

    assert!(said.failure().contains("Kafka refuses to make "), "{said:?}");
    assert!(said.err.contains(test.scope.topics().dead()), "{said:?}");
}

async fn partitions(test: &Test, topic: &str) -> usize {
    let brokers = test.scope.stack.kafka_brokers.clone();
    let topic = topic.to_owned();
    let asked = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", &brokers).create().expect("a consumer");
        let metadata = consumer.fetch_metadata(Some(&topic), PATIENCE).expect("Kafka answers");
        metadata.topics()[0].partitions().len()
    });
    asked.await.expect("no panic")
}
