//! The configuration files of a node.

use std::path::Path;

use super::{Files, Role};
use crate::StartError;
use crate::secured::Demands;

const LOG4J: &str = include_str!("../../kafka/log4j2.properties");

/// The controller's, where it is a node by itself.
const CONTROLLER: i32 = 100;

/// Where a node listens, where it tells its clients to go, where its controller is, and what it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node<'a> {
    pub(super) listen: u16,
    pub(super) advertised: u16,
    pub(super) controller: u16,
    pub(super) role: &'a Role,
    pub(super) demands: Option<&'a Demands>,
}

impl Role {
    /// What it is called in its cluster.
    pub(super) fn node_id(&self) -> i32 {
        match self {
            Self::Alone => 1,
            Self::Controller { .. } => CONTROLLER,
            Self::Broker { node, .. } => *node,
        }
    }
}

/// Writes the node's configuration, anew at each start, since its ports may differ.
pub(super) fn write(data: &Path, node: Node<'_>) -> Result<Files, StartError> {
    let files = Files {
        server: data.join("server.properties"),
        log4j: data.join("log4j2.properties"),
        log_dir: data.join("logs"),
    };
    let mut properties = server(&files.log_dir, node);
    if let Some(demands) = node.demands {
        properties.push_str(&secured(data, demands)?);
    }
    for (path, text) in [(&files.server, properties), (&files.log4j, LOG4J.to_owned())] {
        std::fs::write(path, text)
            .map_err(StartError::file("configuration could not be written", path))?;
    }
    Ok(files)
}

fn server(log_dir: &Path, node: Node<'_>) -> String {
    let (replicas, in_sync) = match node.role {
        // There is one broker to hold everything.
        Role::Alone => (1, 1),
        Role::Controller { .. } | Role::Broker { .. } => (3, 2),
    };
    format!(
        "# Written at each start: change crates/local-stack/src/kafka/properties.rs instead.
{part}
node.id={node_id}
controller.listener.names=CONTROLLER
log.dirs={log_dir}

# Topics are made on purpose, never by a misspelt name.
auto.create.topics.enable=false

default.replication.factor={replicas}
offsets.topic.replication.factor={replicas}
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={in_sync}
min.insync.replicas={in_sync}

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
        part = part(node),
        node_id = node.role.node_id(),
        log_dir = log_dir.display(),
    )
}

/// Makes the only listener that clients have demand TLS and a login by SCRAM.
fn secured(data: &Path, demands: &Demands) -> Result<String, StartError> {
    // One file for both, as Kafka wants it.
    let keystore = data.join("keystore.pem");
    let proof = demands.proof()?;
    std::fs::write(&keystore, [proof.key, proof.certificate].concat())
        .map_err(StartError::file("certificate could not be written", &keystore))?;
    let admin = demands.admin();
    Ok(format!(
        "
listener.security.protocol.map=CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL
inter.broker.listener.name=SASL_SSL
sasl.enabled.mechanisms=SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required \
username=\"{name}\" password=\"{password}\";
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.truststore.type=PEM
ssl.truststore.location={ca_file}
",
        name = admin.name,
        password = admin.password,
        keystore = keystore.display(),
        ca_file = demands.ca_file.display(),
    ))
}

/// What the node does in its cluster, and where.
fn part(node: Node<'_>) -> String {
    let Node { listen, advertised, controller, role, demands } = node;
    let clients = if demands.is_some() { "SASL_SSL" } else { "PLAINTEXT" };
    match role {
        Role::Alone => format!(
            "process.roles=broker,controller
controller.quorum.voters=1@127.0.0.1:{controller}
listeners={clients}://127.0.0.1:{listen},CONTROLLER://127.0.0.1:{controller}
advertised.listeners={clients}://127.0.0.1:{advertised}"
        ),
        Role::Controller { .. } => format!(
            "process.roles=controller
controller.quorum.voters={CONTROLLER}@127.0.0.1:{listen}
listeners=CONTROLLER://127.0.0.1:{listen}"
        ),
        Role::Broker { .. } => format!(
            "process.roles=broker
controller.quorum.voters={CONTROLLER}@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{listen}
advertised.listeners=PLAINTEXT://127.0.0.1:{advertised}"
        ),
    }
}
