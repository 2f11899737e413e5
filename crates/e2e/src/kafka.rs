//! A Kafka of a test's own, alone or behind a proxy, and what may happen to it.

use local_stack::{
    Place, Port,
    kafka::Kafka,
    testing::{TestStack, stack},
};

use crate::{ports::free_address, proxy::Proxy};

/// Starts a Kafka that no other test uses, behind a proxy; clients are told the proxy's address.
pub async fn start() -> (Kafka, Proxy) {
    start_at(Place::temporary().expect("a temporary folder")).await
}

/// The same in a place that the caller has chosen.
pub async fn start_at(place: Place) -> (Kafka, Proxy) {
    let proxy = Proxy::listen().await;
    let port = free_address().port();
    // Before it starts: librdkafka lets go of the address that it was given as soon as it learns the
    // advertised one, and whoever asks whether Kafka is ready may be sent there.
    proxy.forward_to(port);
    let place = place.with_port(Port::Fixed(port)).advertising(proxy.port());
    (Kafka::start(place).await.expect("kafka starts"), proxy)
}

/// The shared servers with this Kafka instead of theirs.
pub fn stack_with(proxy: &Proxy) -> TestStack {
    TestStack { kafka_brokers: format!("127.0.0.1:{}", proxy.port()), ..stack() }
}
