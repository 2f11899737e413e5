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
            let value = event.encode();
            let record = FutureRecord::to(topics.of(event.kind))
                .key(event.dedup_key.as_bytes().as_slice())
                .payload(&value)
                .headers(headers_of(event, None));
            sent.push(producer.send_result(record).map_err(|(error, _)| error)?);
        }
        for delivery in sent {
            delivery.await?.map_err(|(error, _)| error)?;
        }
    }
    Ok(())
}

/// The headers that ingest would give a record.
pub(crate) fn headers_of(event: &AdEvent, trace: Option<(&str, &str)>) -> OwnedHeaders {
    let all = OwnedHeaders::new_with_capacity(headers::MAX_HEADERS);
    headers::for_event(event, trace, all, |all, key, value| {
        all.insert(Header { key, value: Some(value) })
    })
}
