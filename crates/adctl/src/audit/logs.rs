//! Where Kafka's logs begin and end.

use std::collections::{BTreeMap, BTreeSet};

use click_store::{TopicPartition, audit::PartitionBooks};
use proto_schemas::Kind;
use rdkafka::{
    consumer::{BaseConsumer, Consumer as _},
    metadata::MetadataTopic,
};

use crate::connections::{KAFKA_TIMEOUT, KafkaAt};

/// Where the log of each partition begins and ends.
#[derive(Clone, Debug, Default)]
pub(super) struct Logs(BTreeMap<TopicPartition, Log>);

/// The offsets that a log holds: from `start` up to, not including, `end`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Log {
    pub(super) start: i64,
    pub(super) end: i64,
}

/// Asks for the topics of this pipeline, and for those of `counted`.
pub(super) async fn read(kafka: &KafkaAt, counted: &[PartitionBooks]) -> anyhow::Result<Logs> {
    let names = kafka.topics();
    let mut topics: BTreeSet<String> = Kind::ALL.map(|it| names.of(it).to_owned()).into();
    topics.extend(counted.iter().map(|it| it.at.topic.to_string()));
    let kafka = kafka.clone();
    // librdkafka's questions block.
    tokio::task::spawn_blocking(move || ask(&kafka, &topics)).await?
}

fn ask(kafka: &KafkaAt, topics: &BTreeSet<String>) -> anyhow::Result<Logs> {
    let consumer: BaseConsumer = kafka.config()?.create()?;
    let mut logs = Logs::default();
    for topic in topics {
        let metadata = consumer
            .fetch_metadata(Some(topic), KAFKA_TIMEOUT)
            .map_err(|error| kafka.unreachable(&error))?;
        // A topic that is not there has no partitions.
        for partition in metadata.topics().iter().flat_map(MetadataTopic::partitions) {
            let (start, end) = consumer
                .fetch_watermarks(topic, partition.id(), KAFKA_TIMEOUT)
                .map_err(|error| kafka.unreachable(&error))?;
            logs.0.insert(TopicPartition::new(&**topic, partition.id()), Log { start, end });
        }
    }
    Ok(logs)
}

impl Logs {
    /// Where logs began at an earlier time, and ended at a later one.
    pub(super) fn spanning(earlier: &Self, later: Self) -> Self {
        let mut logs = later;
        for (at, log) in &mut logs.0 {
            if let Some(earlier) = earlier.0.get(at) {
                log.start = earlier.start;
            }
        }
        logs
    }

    pub(super) fn get(&self, at: &TopicPartition) -> Option<Log> {
        self.0.get(at).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&TopicPartition, Log)> {
        self.0.iter().map(|(at, log)| (at, *log))
    }
}

#[cfg(test)]
impl FromIterator<(TopicPartition, Log)> for Logs {
    fn from_iter<I: IntoIterator<Item = (TopicPartition, Log)>>(logs: I) -> Self {
        Self(logs.into_iter().collect())
    }
}
