//! The dead-letter topic: where a record goes that can never count, with its origin and the reason.

use std::time::Duration;

use futures::future::try_join_all;
use proto_schemas::headers::dead;
use rdkafka::{
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};
use service_kit::settings::groups::Kafka;
use tracing::warn;

use crate::{
    partition::{Partition, TopicNames},
    record::{Death, RawRecord},
};

/// How long Kafka may take to acknowledge. The transaction that waits holds its fences meanwhile, so
/// this stays below Postgres's `idle_in_transaction_session_timeout` of 15 s.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(8);

/// The largest letter that is tried whole, in bytes.
const MAX_LETTER_BYTES: &str = "16777216";

/// A record that can never count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeadLetter<'a> {
    pub(crate) partition: Partition,
    pub(crate) offset: i64,
    pub(crate) raw: &'a RawRecord,
    pub(crate) death: &'a Death,
}

/// Sends dead letters.
pub(crate) struct DeadLetters {
    kafka: Kafka,
    names: TopicNames,
    producer: FutureProducer,
}

impl DeadLetters {
    pub(crate) fn new(kafka: &Kafka, names: TopicNames) -> KafkaResult<Self> {
        Ok(Self { producer: producer(kafka)?, kafka: kafka.clone(), names })
    }

    /// Sends `letters`, and returns once Kafka has acknowledged all of them.
    ///
    /// # Errors
    ///
    /// Some may have been written. Sending them again writes them twice, which readers tell by
    /// topic, partition and offset of the origin.
    pub(crate) async fn send(&mut self, letters: &[DeadLetter<'_>]) -> KafkaResult<()> {
        let sent = try_join_all(letters.iter().map(|letter| self.send_one(letter))).await;
        if let Err(error) = &sent
            && error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal)
        {
            // An idempotent producer that lost its place refuses everything from then on.
            warn!(%error, "the producer of dead letters failed for good, making a new one");
            self.producer = producer(&self.kafka)?;
        }
        sent.map(drop)
    }

    /// A record that is too large to be sent again goes without its value: its origin says where
    /// the value is, for as long as Kafka keeps it.
    async fn send_one(&self, letter: &DeadLetter<'_>) -> KafkaResult<()> {
        match self.send_with(letter, &letter.death.detail, letter.raw.value.as_deref()).await {
            Err(error)
                if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge) =>
            {
                let size = letter.raw.value.as_ref().map_or(0, |it| it.len());
                let detail = format!(
                    "{}; its {size} bytes are too many to be kept here",
                    letter.death.detail
                );
                self.send_with(letter, &detail, None).await
            }
            sent => sent,
        }
    }

    async fn send_with(
        &self,
        letter: &DeadLetter<'_>,
        detail: &str,
        value: Option<&[u8]>,
    ) -> KafkaResult<()> {
        let topic = self.names.topic(letter.partition.kind);
        let (partition, offset) = (letter.partition.number.to_string(), letter.offset.to_string());
        let headers = OwnedHeaders::new()
            .insert(Header { key: dead::TOPIC, value: Some(topic) })
            .insert(Header { key: dead::PARTITION, value: Some(&partition) })
            .insert(Header { key: dead::OFFSET, value: Some(&offset) })
            .insert(Header { key: dead::REASON, value: Some(letter.death.reason.as_str()) })
            .insert(Header { key: dead::DETAIL, value: Some(detail) });
        let mut record = FutureRecord::<[u8], [u8]>::to(self.names.dead()).headers(headers);
        record.key = letter.raw.key.as_deref();
        record.payload = value;

        let acknowledged = self.producer.send_result(record).map_err(|(error, _)| error)?;
        match acknowledged.await {
            Ok(delivery) => delivery.map(drop).map_err(|(error, _)| error),
            // The producer was dropped: it never is while it is borrowed.
            Err(_canceled) => Err(KafkaError::Canceled),
        }
    }
}

fn producer(kafka: &Kafka) -> KafkaResult<FutureProducer> {
    kafka_access::client_config(kafka)
        .set("client.id", "click-consumer-dead-letters")
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("compression.type", "lz4")
        .set("linger.ms", "5")
        .set("partitioner", "murmur2_random")
        // Counts bytes before compression, headers included; the broker counts after it.
        .set("message.max.bytes", MAX_LETTER_BYTES)
        .set("message.timeout.ms", ACKNOWLEDGE_TIMEOUT.as_millis().to_string())
        .set("socket.keepalive.enable", "true")
        .set("reconnect.backoff.max.ms", "2000")
        .create()
}
