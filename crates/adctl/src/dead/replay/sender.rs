//! Puts records on the event topics, as the ingest service does.

use std::time::Duration;

use anyhow::Context as _;
use futures::future::try_join_all;
use proto_schemas::headers;
use rdkafka::{
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};

use crate::{connections::KafkaAt, dead::Letter};

/// How long Kafka may take to acknowledge.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest record that is sent, in bytes: as large as a dead letter may be.
const MAX_RECORD_BYTES: &str = "16777216";

/// Sends records and waits for the brokers.
pub(super) struct Sender(FutureProducer);

impl Sender {
    pub(super) fn new(kafka: &KafkaAt) -> anyhow::Result<Self> {
        let producer = kafka
            .config()?
            .set("client.id", "adctl-dead-replay")
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("compression.type", "lz4")
            .set("partitioner", "murmur2_random")
            .set("message.max.bytes", MAX_RECORD_BYTES)
            .set("message.timeout.ms", ACKNOWLEDGE_TIMEOUT.as_millis().to_string())
            .create()?;
        Ok(Self(producer))
    }

    /// Puts each letter's record on its topic, and returns once Kafka has acknowledged all of them.
    ///
    /// # Errors
    ///
    /// Some may have been written. Sending them again is harmless: they count once.
    pub(super) async fn send(
        &self,
        letters: impl Iterator<Item = (&Letter, &str)>,
    ) -> anyhow::Result<()> {
        try_join_all(letters.map(|(letter, topic)| self.send_one(letter, topic))).await?;
        Ok(())
    }

    async fn send_one(&self, letter: &Letter, topic: &str) -> anyhow::Result<()> {
        let mut record = FutureRecord::<[u8], [u8]>::to(topic);
        record.payload = letter.value.as_deref();
        record.key = letter.key.as_deref();
        if let Some(event) = &letter.event {
            // The key by which an event meets its duplicates in one partition, whatever it died under.
            record.key = Some(event.dedup_key.as_bytes());
            let add = |all: OwnedHeaders, key, value: &str| {
                all.insert(Header { key, value: Some(value) })
            };
            record.headers = Some(headers::for_event(event, None, OwnedHeaders::new(), add));
        }
        let failed = || format!("{} could not be put back on {topic}", letter.origin);
        // A chunk is far smaller than the queue, so there is room.
        let acknowledged =
            self.0.send_result(record).map_err(|(error, _)| error).with_context(failed)?;
        acknowledged.await?.map_err(|(error, _)| error).with_context(failed)?;
        Ok(())
    }
}
