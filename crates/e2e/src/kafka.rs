//! A Kafka of a test's own, alone or behind a proxy, and what may happen to it.

use local_stack::{
    Place,
    kafka::Kafka,
    testing::{TestStack, stack},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::proxy::Proxy;

/// Starts a Kafka that no other test uses, behind a proxy; clients are told the proxy's address.
pub async fn start() -> (Kafka, Proxy) {
    let proxy = Proxy::listen().await;
    let place = Place::temporary().expect("a temporary folder").advertising(proxy.port());
    let kafka = Kafka::start(place).await.expect("kafka starts");
    proxy.forward_to(kafka.port());
    (kafka, proxy)
}

/// The shared servers with this Kafka instead of theirs.
pub fn stack_with(proxy: &Proxy) -> TestStack {
    TestStack { kafka_brokers: format!("127.0.0.1:{}", proxy.port()), ..stack() }
}

/// Stops it where it is; it keeps its connections, and says nothing on them.
pub fn freeze(kafka: &Kafka) {
    signal(kafka, Signal::SIGSTOP);
}

/// Lets it go on after [`freeze`].
pub fn thaw(kafka: &Kafka) {
    signal(kafka, Signal::SIGCONT);
}

fn signal(kafka: &Kafka, signal: Signal) {
    let pid = kafka.pid().expect("it runs").cast_signed();
    kill(Pid::from_raw(pid), signal).expect("it runs");
}
