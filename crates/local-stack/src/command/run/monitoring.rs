//! A Prometheus beside the pipeline, where somebody wants one.

use std::path::Path;

use clap::Args;
use local_stack::place::first_free_port;
use local_stack::prometheus::{Prometheus, Watched};
use local_stack::{Place, Port};

use super::services::Plans;
use crate::command::say;
use crate::command::stores::log;

/// Where everybody looks for it first.
const USUAL_PORT: u16 = 9090;

/// Whether the pipeline is watched.
#[derive(Args, Clone, Debug)]
pub(crate) struct Monitoring {
    /// Also start Prometheus, with the alerts of k8s/monitoring
    #[arg(long)]
    monitoring: bool,
    /// Port of the Prometheus that is started [default: 9090, or the next free one]
    #[arg(long, env = "LOCAL_PROMETHEUS_PORT", value_name = "PORT")]
    prometheus_port: Option<u16>,
}

impl Monitoring {
    /// Starts it, where it is wanted, and returns when it answers.
    pub(super) async fn start(
        &self,
        plans: &Plans,
        folder: &Path,
    ) -> anyhow::Result<Option<Prometheus>> {
        if !self.monitoring {
            return Ok(None);
        }
        let port = self.prometheus_port.unwrap_or_else(|| {
            let free = first_free_port(USUAL_PORT).unwrap_or(USUAL_PORT);
            if free != USUAL_PORT {
                say::progress(&format!("port {USUAL_PORT} is taken: Prometheus gets {free}"));
            }
            free
        });
        let folder = std::path::absolute(folder)?;
        let data = folder.join("data").join("prometheus");
        let place = Place::lasting(data, log(&folder, "prometheus"), Port::Fixed(port));
        let watched = Watched { jobs: plans.metrics(), rules: None, every: None };
        Ok(Some(Prometheus::watch(place, &watched).await?))
    }
}
