//! The configuration files of the broker.

use std::path::Path;

use super::Files;
use crate::StartError;

const LOG4J: &str = include_str!("../../kafka/log4j2.properties");

/// Where the broker listens, where it tells its clients to go, and where its controller is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) listen: u16,
    pub(super) advertised: u16,
    pub(super) controller: u16,
}

/// Writes the broker's configuration, anew at each start, since its ports may differ.
pub(super) fn write(data: &Path, ports: Ports) -> Result<Files, StartError> {
    let files = Files {
        server: data.join("server.properties"),
        log4j: data.join("log4j2.properties"),
        log_dir: data.join("logs"),
    };
    for (path, text) in
        [(&files.server, server(&files.log_dir, ports)), (&files.log4j, LOG4J.to_owned())]
    {
        std::fs::write(path, text)
            .map_err(StartError::file("configuration could not be written", path))?;
    }
    Ok(files)
}

fn server(log_dir: &Path, ports: Ports) -> String {
    let Ports { listen, advertised, controller } = ports;
    format!(
        "# Written at each start: change crates/local-stack/src/kafka/properties.rs instead.
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{listen},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{advertised}
log.dirs={log_dir}

# Topics are made on purpose, never by a misspelt name.
auto.create.topics.enable=false

# There is one broker to hold everything.
default.replication.factor=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
min.insync.replicas=1

# Few groups, and none of them waits for more members.
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0

# A broker that was killed is let in again once its old session is over.
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
initial.broker.registration.timeout.ms=120000

# Sized for one machine that does other things as well.
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=16777216
",
        log_dir = log_dir.display(),
    )
}
