//! Three private brokers that are one cluster, and its controller.

use std::{path::Path, sync::Arc};

use super::{Kafka, cluster_id};
use crate::StartError;
use crate::place::{Place, temporary_folder};

/// What a node is within its cluster.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    /// All of it.
    Alone,
    Controller {
        cluster: String,
    },
    Broker {
        cluster: String,
        node: i32,
        /// The port of the controller.
        controller: u16,
    },
}

impl Role {
    pub(super) fn cluster(&self) -> String {
        match self {
            Self::Alone => cluster_id(),
            Self::Controller { cluster } | Self::Broker { cluster, .. } => cluster.clone(),
        }
    }
}

/// A cluster whose topics have three replicas, of which two must have a record before it is
/// acknowledged.
#[derive(Debug)]
pub struct Cluster {
    brokers: [Kafka; 3],
    _controller: Kafka,
}

impl Cluster {
    /// Starts it in a temporary folder, and returns when every broker serves.
    pub async fn start() -> Result<Self, StartError> {
        let folder = temporary_folder()
            .map_err(StartError::file("no temporary folder below", &std::env::temp_dir()))?;
        let (folder, cluster) = (Arc::new(folder), cluster_id());
        let role = Role::Controller { cluster: cluster.clone() };
        let controller =
            Kafka::start(Place::within(&folder, "controller").of_cluster(role)).await?;

        let broker = |node| {
            let (cluster, controller) = (cluster.clone(), controller.port());
            let role = Role::Broker { cluster, node, controller };
            Kafka::start(Place::within(&folder, &format!("broker-{node}")).of_cluster(role))
        };
        let (one, two, three) = tokio::try_join!(broker(1), broker(2), broker(3))?;
        Ok(Self { brokers: [one, two, three], _controller: controller })
    }

    /// What `KAFKA_BROKERS` is set to.
    pub fn brokers(&self) -> String {
        self.brokers.each_ref().map(Kafka::brokers).join(",")
    }

    /// Kills one of the three (0 to 2), as `kill -9` does.
    pub fn kill(&mut self, broker: usize) {
        self.brokers[broker].kill();
    }

    /// Kills one of them, and deletes everything that it has stored.
    pub fn lose_disk(&mut self, broker: usize) -> Result<(), StartError> {
        let broker = &mut self.brokers[broker];
        broker.kill();
        remove(&broker.place().data)
    }

    /// Starts one again, with what it still has, and returns when it serves.
    pub async fn restart(&mut self, broker: usize) -> Result<(), StartError> {
        self.brokers[broker].restart().await
    }
}

fn remove(folder: &Path) -> Result<(), StartError> {
    std::fs::remove_dir_all(folder).map_err(StartError::file("folder could not be removed", folder))
}
