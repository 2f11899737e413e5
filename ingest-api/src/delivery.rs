//! The step from us to librdkafka, which the benchmark leaves out to see what the rest takes.

use rdkafka::{error::KafkaError, producer::FutureRecord};

use crate::producer::Client;

/// What becomes of a record.
#[cfg(not(feature = "without-kafka"))]
pub(crate) type Delivery = rdkafka::producer::DeliveryFuture;

/// Queues a record.
///
/// `send` would retry a full queue for us, every 100 ms.
#[cfg(not(feature = "without-kafka"))]
pub(crate) fn hand_over(
    client: &Client,
    record: FutureRecord<'_, [u8], Vec<u8>>,
) -> Result<Delivery, KafkaError> {
    client.send_result(record).map_err(|(error, _record)| error)
}

/// What becomes of a record: at once, and always well.
#[cfg(feature = "without-kafka")]
pub(crate) type Delivery = futures::future::Ready<
    Result<
        rdkafka::producer::future_producer::OwnedDeliveryResult,
        futures::channel::oneshot::Canceled,
    >,
>;

/// Forgets a record: this is the build for the benchmark.
#[cfg(feature = "without-kafka")]
#[expect(clippy::unnecessary_wraps, reason = "the same signature as with Kafka")]
pub(crate) fn hand_over(
    _client: &Client,
    record: FutureRecord<'_, [u8], Vec<u8>>,
) -> Result<Delivery, KafkaError> {
    use rdkafka::{Timestamp, producer::future_producer::Delivery};

    std::hint::black_box(record);
    let delivered = Delivery { partition: 0, offset: 0, timestamp: Timestamp::NotAvailable };
    Ok(futures::future::ready(Ok(Ok(delivered))))
}
