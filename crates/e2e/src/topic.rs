//! What is on a pipeline's topics, read as a data team reads it.

use std::time::Duration;

use local_stack::testing::Scope;
use proto_schemas::{
    AdEvent, Kind,
    topics::{DEAD_PARTITIONS, PARTITIONS},
};
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewPartitions},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    metadata::{MetadataPartition, MetadataTopic},
    producer::{FutureProducer, FutureRecord},
};

use crate::{
    pipeline::Pipeline,
    wait::{LIMIT, until},
};

impl Pipeline {
    /// Reads every event of one kind that is on Kafka now, duplicates included.
    pub async fn on_topic(&self, kind: Kind) -> Vec<AdEvent> {
        let scope = self.scope.clone();
        let read = tokio::task::spawn_blocking(move || read_all(&scope, kind));
        read.await.expect("the topic can be read")
    }
}

impl Pipeline {
    /// Puts bytes on the topic of clicks that no version of this project ever wrote.
    pub async fn send_garbage(&self, records: u32) {
        self.send_bytes(records, vec![0xff; 40], None).await;
    }

    /// The same with so many bytes in each, and all of it on the first partition.
    pub async fn send_large_garbage(&self, records: u32, bytes: usize) {
        self.send_bytes(records, vec![0xff; bytes], Some(0)).await;
    }

    async fn send_bytes(&self, records: u32, mut bytes: Vec<u8>, partition: Option<i32>) {
        let producer: FutureProducer =
            self.scope.stack.kafka_config().create().expect("a producer");
        let topics = self.scope.topics();
        let sent = (0..records).map(|number| {
            let key = number.to_be_bytes();
            bytes[1..5].copy_from_slice(&key);
            let mut record = FutureRecord::to(topics.of(Kind::Click)).key(&key).payload(&bytes);
            record.partition = partition;
            producer.send_result(record).map_err(|(error, _)| error).expect("room in the queue")
        });
        // All at once: each of these has its bytes by then.
        for sent in sent.collect::<Vec<_>>() {
            sent.await.expect("an answer").expect("acknowledged");
        }
    }

    /// Gives the topic of clicks this many partitions in all.
    pub async fn add_partitions(&self, partitions: usize) {
        self.try_add_partitions(partitions).await.expect("partitions are added");
    }

    /// The same where Kafka may be away, or may have them already.
    pub(crate) async fn try_add_partitions(&self, partitions: usize) -> Result<(), KafkaError> {
        let admin: AdminClient<DefaultClientContext> =
            self.scope.stack.kafka_config().create().expect("an admin client");
        let topics = self.scope.topics();
        let more = NewPartitions::new(topics.of(Kind::Click), partitions);
        for added in admin.create_partitions([&more], &AdminOptions::new()).await? {
            added.map_err(|(_, code)| KafkaError::AdminOp(code))?;
        }
        Ok(())
    }
}

impl Pipeline {
    /// Waits until this is true of every partition that Kafka has.
    pub async fn until_partitions(&self, what: &str, holds: fn(&MetadataPartition) -> bool) {
        until(what, async || {
            let scope = self.scope.clone();
            let asked = tokio::task::spawn_blocking(move || {
                let metadata = consumer(&scope).fetch_metadata(None, LIMIT).expect("metadata");
                metadata.topics().iter().flat_map(MetadataTopic::partitions).all(holds)
            });
            asked.await.expect("Kafka answers")
        })
        .await;
    }

    /// How many consumers Kafka knows of in the pipeline's group.
    pub async fn group_members(&self) -> usize {
        let scope = self.scope.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let groups = consumer(&scope).fetch_group_list(Some(&scope.consumer_group), LIMIT);
            groups.expect("a list").groups().iter().map(|it| it.members().len()).sum()
        });
        asked.await.expect("Kafka answers")
    }
}

/// How many records both topics have together.
pub(crate) async fn end(scope: &Scope) -> i64 {
    let scope = scope.clone();
    let end = tokio::task::spawn_blocking(move || {
        let consumer = consumer(&scope);
        let topics = scope.topics();
        Kind::ALL
            .into_iter()
            .map(|kind| end_of(&consumer, topics.of(kind), partitions(&consumer, topics.of(kind))))
            .sum()
    });
    end.await.expect("Kafka answers")
}

/// How many records the dead-letter topic has.
pub(crate) async fn dead_letters(scope: &Scope) -> i64 {
    let scope = scope.clone();
    let end = tokio::task::spawn_blocking(move || {
        end_of(&consumer(&scope), scope.topics().dead(), DEAD_PARTITIONS)
    });
    end.await.expect("Kafka answers")
}

fn read_all(scope: &Scope, kind: Kind) -> Vec<AdEvent> {
    let (consumer, topics) = (consumer(scope), scope.topics());
    let topic = topics.of(kind);
    let mut partitions = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        let added = partitions.add_partition_offset(topic, partition, Offset::Beginning);
        added.expect("a partition");
    }
    consumer.assign(&partitions).expect("assigned");

    (0..end_of(&consumer, topic, PARTITIONS))
        .map(|_| {
            let record = consumer.poll(LIMIT).expect("a record in time").expect("a record");
            AdEvent::decode(record.payload().expect("a value")).expect("an event")
        })
        .collect()
}

fn consumer(scope: &Scope) -> BaseConsumer {
    scope
        .stack
        .kafka_config()
        .set("group.id", format!("{}-look", scope.consumer_group))
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer")
}

/// How many partitions a topic has now: a test may have added some.
fn partitions(consumer: &BaseConsumer, topic: &str) -> i32 {
    let metadata = consumer.fetch_metadata(Some(topic), LIMIT).expect("metadata");
    let partitions = metadata.topics()[0].partitions().len();
    i32::try_from(partitions).expect("few")
}

fn end_of(consumer: &BaseConsumer, topic: &str, partitions: i32) -> i64 {
    const ANSWER: Duration = Duration::from_secs(30);
    let end = |partition| consumer.fetch_watermarks(topic, partition, ANSWER).expect("an end").1;
    (0..partitions).map(end).sum()
}
