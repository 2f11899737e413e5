//! The Kafka consumer: its settings, and what happens when partitions come and go.

use std::sync::atomic::{AtomicBool, Ordering};

use kafka_access::Refusals;
use rdkafka::{
    ClientContext, Offset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, KafkaResult},
    types::RDKafkaRespErr,
};
use service_kit::readiness::Check;
use tracing::{debug, error, info, warn};

use crate::{
    assignment::Assignment, config::Config, metrics::Metrics, partition::Partition,
    partition::TopicNames,
};

/// A consumer whose partitions wait, paused, until Postgres has said where they start.
pub(crate) type KafkaConsumer = BaseConsumer<Rebalancing>;

/// Where every assigned partition stands until it is sought; nothing is read there.
///
/// An offset, and not "the beginning", "the end" or "the committed one": those ask the broker, and
/// the answer could come after the seek and override it.
const PARKED: Offset = Offset::Offset(0);

/// Tells the rest of the service which partitions it has.
pub(crate) struct Rebalancing {
    assignment: Assignment,
    names: TopicNames,
    metrics: Metrics,
    joined: Check,
    has_joined: AtomicBool,
    refusals: Refusals,
    made_again: AtomicBool,
}

impl ClientContext for Rebalancing {
    /// Runs on librdkafka's own threads.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Debug => {
                if facility == "METADATA" && says_made_again(message) {
                    self.made_again.store(true, Ordering::SeqCst);
                }
            }
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Notice => info!(facility, "{message}"),
            _ => warn!(facility, "{message}"),
        }
    }

    /// What is an error to librdkafka (a broker that is away) it mends by itself, and logs too.
    fn error(&self, error: KafkaError, reason: &str) {
        let refusal = self.refusals.tell(&error, reason);
        // Once in the group, a single broker that refuses does not keep us from counting, and nothing
        // would say that all is well again.
        if let Some(refusal) = refusal
            && !self.has_joined.load(Ordering::SeqCst)
        {
            self.joined.fail(refusal);
        }
        debug!(%error, reason, "librdkafka has met an error");
    }
}

/// Whether a line of librdkafka's log says that a topic is another one of the same name.
///
/// When a topic is deleted and made again, librdkafka goes on at the old offset of the new topic
/// without a word (`rdkafka_topic.c`, "an offset reset must be triggered"). It writes this line
/// when it learns of the new topic's id, before it fetches with it.
fn says_made_again(line: &str) -> bool {
    /// The id of a topic of which nothing is known yet, in base 64.
    const NO_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";
    line.split_once(" changed id from ").is_some_and(|(_, ids)| !ids.starts_with(NO_ID))
}

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
            self.has_joined.store(true, Ordering::SeqCst);
            self.refusals.clear();
            self.joined.ok();
            assign_paused(consumer, list).inspect(|()| self.assignment.assigned(&partitions))
        } else {
            info!(partitions = partitions.len(), "kafka revoked partitions");
            // What is being stored of them may go on: the fence decides whether it counts.
            self.assignment.revoked(&partitions);
            // The pause outlives the assignment: the next one of these starts paused.
            consumer.pause(list).and_then(|()| consumer.unassign())
        };
        if let Err(error) = outcome {
            error!(%error, "a rebalance failed");
        }
        self.metrics.rebalanced();
    }
}

impl Rebalancing {
    /// Whether a topic was made again since this was last asked.
    pub(crate) fn topic_was_made_again(&self) -> bool {
        self.made_again.swap(false, Ordering::SeqCst)
    }

    fn partitions(&self, list: &TopicPartitionList) -> Vec<Partition> {
        list.elements()
            .iter()
            .filter_map(|it| self.names.partition(it.topic(), it.partition()))
            .collect()
    }
}

/// Assigns partitions so that nothing of them is fetched.
///
/// The pause before is for those that this client has seen before: they start paused. A new one may
/// fetch once before the pause after reaches it. Where its log no longer begins at 0, that fetch
/// fails with an offset that is out of range, and librdkafka then refuses every seek; the reader sees
/// that and calls [`assign_anew`].
fn assign_paused(consumer: &KafkaConsumer, list: &mut TopicPartitionList) -> KafkaResult<()> {
    list.set_all_offsets(PARKED)?;
    consumer.pause(list)?;
    consumer.assign(list)?;
    consumer.pause(list)
}

/// Assigns what is assigned once more, from scratch: every partition wants a start again.
///
/// librdkafka stops a partition for good whose offset was out of range. By now each is known and
/// paused, so none fetches before its start.
pub(crate) fn assign_anew(consumer: &KafkaConsumer) -> KafkaResult<()> {
    let mut list = consumer.assignment()?;
    let rebalancing = consumer.context();
    assign_paused(consumer, &mut list)?;
    rebalancing.assignment.assigned(&rebalancing.partitions(&list));
    Ok(())
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
    let consumer: KafkaConsumer = kafka_access::client_config(&config.kafka)
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
        // Below their defaults of 60 and 30 s: a request that a frozen broker never answers (the
        // commit of displayed offsets, for one) holds up the rejoining behind it for that long.
        .set("socket.timeout.ms", "10000")
        .set("socket.connection.setup.timeout.ms", "5000")
        .set("reconnect.backoff.max.ms", "2000")
        // Bounds what is fetched ahead; when it is reached, fetching goes on after 10 ms and not
        // after the default second.
        .set("queued.max.messages.kbytes", "16384")
        .set("fetch.queue.backoff.ms", "10")
        // The broker answers once there is some, or after a moment: otherwise each record that is
        // produced would end a fetch, and begin another one.
        .set("fetch.min.bytes", "65536")
        .set("fetch.wait.max.ms", "50")
        // For `says_made_again`.
        .set("debug", "metadata")
        .set_log_level(RDKafkaLogLevel::Debug)
        .create_with_context(Rebalancing {
            assignment,
            names: names.clone(),
            metrics,
            joined,
            has_joined: AtomicBool::new(false),
            refusals: Refusals::default(),
            made_again: AtomicBool::new(false),
        })?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_topic_that_was_known_before_was_made_again() {
        let line = |from: &str| {
            format!("[thrd:main]: Topic ad-clicks changed id from {from} to qRbmrKFBTAqjYQCKLmL2Zg")
        };

        assert!(says_made_again(&line("lVqRgXhmTUOTkLKVyHSrcQ")));
        assert!(!says_made_again(&line("AAAAAAAAAAAAAAAAAAAAAA")));
        assert!(!says_made_again("[thrd:main]: Topic ad-clicks [3] Leader 1 Epoch 0"));
    }
}
