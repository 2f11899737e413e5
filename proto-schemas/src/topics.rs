//! Topic names, and how the topics are made.

use std::time::Duration;

use crate::Kind;

/// Partitions of each event topic, unless the operator makes it with another number.
pub const PARTITIONS: i32 = 12;

/// Partitions of the dead-letter topic: it is small, and nobody needs it in order.
pub const DEAD_PARTITIONS: i32 = 3;

/// How long Kafka keeps events.
pub const RETENTION: Duration = Duration::from_hours(7 * 24);

/// How long Kafka keeps dead letters: long enough to be noticed, mended and replayed.
pub const DEAD_RETENTION: Duration = Duration::from_hours(30 * 24);

/// The names of the topics, behind the prefix of one deployment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Topics {
    clicks: String,
    impressions: String,
    dead: String,
}

impl Topics {
    /// `prefix` is put in front of every name; empty for none.
    pub fn new(prefix: &str) -> Self {
        Self {
            clicks: format!("{prefix}ad-clicks"),
            impressions: format!("{prefix}ad-impressions"),
            dead: format!("{prefix}ad-events-dead"),
        }
    }

    /// The topic that carries events of `kind`.
    pub fn of(&self, kind: Kind) -> &str {
        match kind {
            Kind::Click => &self.clicks,
            Kind::Impression => &self.impressions,
        }
    }

    /// The topic of records that can never be counted.
    pub fn dead(&self) -> &str {
        &self.dead
    }

    /// The kind that `topic` carries; `None` for any other topic.
    pub fn kind_of(&self, topic: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|&kind| self.of(kind) == topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_topic_behind_the_prefix() {
        let topics = Topics::new("test-");

        assert_eq!(topics.of(Kind::Click), "test-ad-clicks");
        assert_eq!(topics.of(Kind::Impression), "test-ad-impressions");
        assert_eq!(topics.dead(), "test-ad-events-dead");
        assert_eq!(topics.kind_of("test-ad-impressions"), Some(Kind::Impression));
        assert_eq!(topics.kind_of("ad-impressions"), None);
    }
}
