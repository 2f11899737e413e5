//! A Kafka partition as this service knows it.

use std::sync::Arc;

use click_store::TopicPartition;
use proto_schemas::{Kind, Topics};

/// A partition of the topic that carries `kind`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Partition {
    pub(crate) kind: Kind,
    pub(crate) number: i32,
}

/// The topics, and the way between a [`Partition`] and its name in Kafka and in the stores.
#[derive(Clone, Debug)]
pub(crate) struct TopicNames {
    topics: Topics,
    clicks: Arc<str>,
    impressions: Arc<str>,
}

impl TopicNames {
    pub(crate) fn new(prefix: &str) -> Self {
        let topics = Topics::new(prefix);
        Self {
            clicks: topics.of(Kind::Click).into(),
            impressions: topics.of(Kind::Impression).into(),
            topics,
        }
    }

    pub(crate) fn topic(&self, kind: Kind) -> &str {
        self.topics.of(kind)
    }

    pub(crate) fn dead(&self) -> &str {
        self.topics.dead()
    }

    /// Returns `None` for a topic that this service does not count.
    pub(crate) fn partition(&self, topic: &str, number: i32) -> Option<Partition> {
        self.topics.kind_of(topic).map(|kind| Partition { kind, number })
    }

    pub(crate) fn at(&self, partition: Partition) -> TopicPartition {
        let topic = match partition.kind {
            Kind::Click => &self.clicks,
            Kind::Impression => &self.impressions,
        };
        TopicPartition { topic: Arc::clone(topic), partition: partition.number }
    }
}
