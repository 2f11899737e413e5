//! Reads the dead letters that are there, the oldest first, each once.

use std::time::Duration;

use anyhow::Context as _;
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
};
use tokio_util::sync::CancellationToken;

use super::{Letter, seen::Seen};
use crate::{
    connections::{KAFKA_TIMEOUT, KafkaAt},
    tap,
};

/// How long a poll may wait: this long after Ctrl-C it ends at the latest.
const POLL: Duration = Duration::from_millis(100);

/// How much of a partition is fetched ahead, in KiB.
const AHEAD_KIB: &str = "8192";

/// Reads dead letters. Blocks, so it is used on a thread of its own.
///
/// It ends where the topic ended when it was opened: letters that die meanwhile are not read, so
/// that whoever puts letters back does not meet them again and again.
pub(super) struct Reader {
    partitions: Vec<PartitionReader>,
    seen: Seen,
    /// Offsets there were to read in the beginning.
    all: u64,
}

/// One partition, with the next letter at hand.
struct PartitionReader {
    consumer: BaseConsumer,
    /// The next offset to read, and the one to end at.
    next: i64,
    end: i64,
    letter: Option<Letter>,
}

impl Reader {
    /// # Errors
    ///
    /// Where Kafka does not answer, or the topic is not there.
    pub(super) fn open(kafka: &KafkaAt) -> anyhow::Result<Self> {
        let topics = kafka.topics();
        let topic = topics.dead();
        let asking: BaseConsumer = kafka.config()?.create()?;
        let metadata = asking
            .fetch_metadata(Some(topic), KAFKA_TIMEOUT)
            .map_err(|error| kafka.unreachable(&error))?;
        let metadata = metadata.topics().first().context("Kafka does not say a thing")?;
        match metadata.error().map(RDKafkaErrorCode::from) {
            None => {}
            Some(RDKafkaErrorCode::UnknownTopicOrPartition) => return Err(tap::missing(topic)),
            Some(code) => anyhow::bail!("topic {topic} cannot be read: {code}"),
        }
        let mut reader = Self { partitions: Vec::new(), seen: Seen::default(), all: 0 };
        for partition in metadata.partitions() {
            let (start, end) = asking
                .fetch_watermarks(topic, partition.id(), KAFKA_TIMEOUT)
                .map_err(|error| kafka.unreachable(&error))?;
            if start < end {
                reader.all += (end - start).unsigned_abs();
                let partition = PartitionReader::open(kafka, topic, partition.id(), start..end)?;
                reader.partitions.push(partition);
            }
        }
        Ok(reader)
    }

    /// How many offsets there are to read, and how many of them have been.
    pub(super) fn progress(&self) -> (u64, u64) {
        let left: i64 = self.partitions.iter().map(|it| it.end - it.next).sum();
        (self.all - left.unsigned_abs(), self.all)
    }

    /// The next letter that was not read before: `None` at the end, or where it was stopped.
    pub(super) fn next(&mut self, stop: &CancellationToken) -> anyhow::Result<Option<Letter>> {
        loop {
            for partition in &mut self.partitions {
                partition.fill(stop)?;
            }
            if stop.is_cancelled() {
                return Ok(None);
            }
            let oldest = self
                .partitions
                .iter_mut()
                .filter(|it| it.letter.is_some())
                .min_by_key(|it| it.letter.as_ref().and_then(|it| it.died_at));
            let Some(letter) = oldest.and_then(|it| it.letter.take()) else { return Ok(None) };
            // With the value, since a topic that was made again gives its offsets a second time.
            if self.seen.is_new(&(&letter.origin, &letter.value)) {
                return Ok(Some(letter));
            }
        }
    }
}

impl PartitionReader {
    /// A consumer for each partition, since one for all would mix them as it likes.
    fn open(
        kafka: &KafkaAt,
        topic: &str,
        partition: i32,
        offsets: std::ops::Range<i64>,
    ) -> anyhow::Result<Self> {
        let consumer: BaseConsumer = kafka
            .config()?
            // librdkafka wants a name, but with assigned partitions and no commits it joins no group.
            .set("group.id", "adctl-dead")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            // What expired between asking for the beginning and reading it.
            .set("auto.offset.reset", "earliest")
            .set("queued.max.messages.kbytes", AHEAD_KIB)
            .create()?;
        let mut assignment = TopicPartitionList::new();
        assignment.add_partition_offset(topic, partition, Offset::Offset(offsets.start))?;
        consumer.assign(&assignment)?;
        Ok(Self { consumer, next: offsets.start, end: offsets.end, letter: None })
    }

    /// Gets the next letter, unless it is at hand already or there is none. Waits for Kafka as long
    /// as it takes: it says so, and whoever asked can stop it.
    fn fill(&mut self, stop: &CancellationToken) -> anyhow::Result<()> {
        let mut trouble = None;
        while self.letter.is_none() && self.next < self.end && !stop.is_cancelled() {
            match self.consumer.poll(POLL) {
                None => {}
                Some(Ok(record)) => {
                    self.next = record.offset() + 1;
                    self.letter = Letter::read(&record).filter(|_| self.next <= self.end);
                    trouble = None;
                }
                // The last offsets may hold no record.
                Some(Err(KafkaError::PartitionEOF(_))) => self.next = self.end,
                Some(Err(error)) => tap::note_trouble(error, &mut trouble)?,
            }
        }
        Ok(())
    }
}
