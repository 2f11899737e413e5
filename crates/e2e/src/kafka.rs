//! A Kafka of a test's own, alone or behind a proxy, and what may happen to it.

use local_stack::{
    Place,
    kafka::Kafka,
    testing::{TestStack, stack},
};

use crate::proxy::Proxy;

/// Starts a Kafka that no other test uses, behind a proxy; clients are told the proxy's address.
pub async fn start() -> (Kafka, Proxy) {
    start_at(Place::temporary().expect("a temporary folder")).await
}

/// The same in a place that the caller has chosen.
pub async fn start_at(place: Place) -> (Kafka, Proxy) {
    let proxy = Proxy::listen().await;
    let kafka = Kafka::start(place.advertising(proxy.port())).await.expect("kafka starts");
    proxy.forward_to(kafka.port());
    (kafka, proxy)
}

/// The shared servers with this Kafka instead of theirs.
pub fn stack_with(proxy: &Proxy) -> TestStack {
    TestStack { kafka_brokers: format!("127.0.0.1:{}", proxy.port()), ..stack() }
}
