//! The Kafka consumer: its settings, and what happens when partitions come and go.

use rdkafka::{
    ClientConfig, ClientContext, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::KafkaResult,
    types::RDKafkaRespErr,
};
use service_kit::readiness::Check;
use tracing::{error, info};

use crate::{
    assignment::Assignment, config::Config, metrics::Metrics, partition::Partition,
    partition::TopicNames,
};

/// A consumer whose partitions wait, paused, until Postgres has said where they start.
pub(crate) type KafkaConsumer = BaseConsumer<Rebalancing>;

/// Where every assigned partition stands until it is sought; nothing is read there.
///
/// An offset, and not "the beginning" or "the committed one": those ask the broker, and the answer
/// could come after the seek.
const PARKED: Offset = Offset::Offset(0);

/// Tells the rest of the service which partitions it has.
pub(crate) struct Rebalancing {
    assignment: Assignment,
    names: TopicNames,
    metrics: Metrics,
    joined: Check,
}

impl ClientContext for Rebalancing {}

impl ConsumerContext for Rebalancing {
    /// Runs on the polling thread, and again while the consumer is dropped.
    ///
    /// Assigns exactly once: a second assign would ask for offsets anew.
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        event: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let partitions = self.partitions(list);
        let outcome = if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            info!(partitions = partitions.len(), "kafka assigned partitions");
            assign_paused(consumer, list).inspect(|()| self.assignment.assigned(&partitions))
        } else {
            info!(partitions = partitions.len(), "kafka revoked partitions");
            // What is being stored of them may go on: the fence decides whether it counts.
            self.assignment.revoked(&partitions);
            consumer.unassign()
        };
        if let Err(error) = outcome {
            error!(%error, "a rebalance failed");
        }
        self.metrics.rebalanced();
        self.joined.ok();
    }
}

impl Rebalancing {
    fn partitions(&self, list: &TopicPartitionList) -> Vec<Partition> {
        list.elements()
            .iter()
            .filter_map(|it| self.names.partition(it.topic(), it.partition()))
            .collect()
    }
}

fn assign_paused(
    consumer: &BaseConsumer<Rebalancing>,
    list: &mut TopicPartitionList,
) -> KafkaResult<()> {
    list.set_all_offsets(PARKED)?;
    consumer.assign(list)?;
    consumer.pause(list)
}

/// Makes the consumer and subscribes to both topics.
///
/// # Errors
///
/// Only where a setting is wrong: brokers that are away are no error.
pub(crate) fn subscribe(
    config: &Config,
    names: &TopicNames,
    assignment: Assignment,
    metrics: Metrics,
    joined: Check,
) -> KafkaResult<KafkaConsumer> {
    let consumer: KafkaConsumer = ClientConfig::new()
        .set("bootstrap.servers", &config.kafka.brokers)
        .set("client.id", "click-consumer")
        .set("group.id", &config.group)
        // KIP-848's protocol does not rejoin reliably in librdkafka 2.12.
        .set("group.protocol", "classic")
        .set("partition.assignment.strategy", "roundrobin")
        .set("session.timeout.ms", "10000")
        .set("heartbeat.interval.ms", "3000")
        // Postgres says where reading starts. Kafka's committed offset is for displays of lag: it
        // is stored after the batch, and committed in the background and at close.
        .set("enable.auto.commit", "true")
        .set("auto.commit.interval.ms", "1000")
        .set("enable.auto.offset.store", "false")
        // The default skips to the end without a word.
        .set("auto.offset.reset", "error")
        .set("allow.auto.create.topics", "false")
        // New partitions are seen within this time.
        .set("topic.metadata.refresh.interval.ms", "10000")
        .set("check.crcs", "true")
        .set("socket.keepalive.enable", "true")
        .set("reconnect.backoff.max.ms", "2000")
        // Bounds what is fetched ahead; when it is reached, fetching goes on after 10 ms and not
        // after the default second.
        .set("queued.max.messages.kbytes", "16384")
        .set("fetch.queue.backoff.ms", "10")
        .set("fetch.wait.max.ms", "100")
        .create_with_context(Rebalancing { assignment, names: names.clone(), metrics, joined })?;
    let topics = proto_schemas::Kind::ALL.map(|kind| names.topic(kind));
    consumer.subscribe(&topics)?;
    Ok(consumer)
}

/// A list of partitions without offsets, as pausing and resuming want it.
pub(crate) fn list_of(
    names: &TopicNames,
    partitions: impl IntoIterator<Item = Partition>,
) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition(names.topic(partition.kind), partition.number);
    }
    list
}
