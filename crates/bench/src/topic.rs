//! A topic filled as fast as Kafka takes it.

use local_stack::testing::Scope;
use proto_schemas::{AdEvent, headers};
use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};

/// Records that wait for an acknowledgement at once, half of what librdkafka takes.
const IN_FLIGHT: usize = 50_000;

/// Puts events where ingest would, and returns once all are acknowledged.
pub(crate) async fn fill(scope: &Scope, events: &[AdEvent]) -> anyhow::Result<()> {
    let topics = scope.topics();
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", &scope.stack.kafka_brokers)
        .set("enable.idempotence", "true")
        .set("compression.type", "lz4")
        .set("linger.ms", "20")
        .set("partitioner", "murmur2_random")
        .create()?;
    for chunk in events.chunks(IN_FLIGHT) {
        let mut sent = Vec::with_capacity(chunk.len());
        for event in chunk {
            let mut record_headers = OwnedHeaders::new_with_capacity(headers::MAX_HEADERS);
            for (key, value) in headers::for_event(event, None) {
                record_headers = record_headers.insert(Header { key, value: Some(value.as_ref()) });
            }
            let value = event.encode();
            let record = FutureRecord::to(topics.of(event.kind))
                .key(event.dedup_key.as_bytes().as_slice())
                .payload(&value)
                .headers(record_headers);
            sent.push(producer.send_result(record).map_err(|(error, _)| error)?);
        }
        for delivery in sent {
            delivery.await?.map_err(|(error, _)| error)?;
        }
    }
    Ok(())
}
