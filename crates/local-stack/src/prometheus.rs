//! A private Prometheus that watches services of this machine, with the rules and the configuration of
//! `k8s/monitoring`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::StartError;
use crate::launch::Program;
use crate::place::{Place, repository};
use crate::server::{Launch, Recipe, Server, StopSignal};

/// A private Prometheus server.
pub type Prometheus = Server<PrometheusRecipe>;

/// What a Prometheus watches, and how closely.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The jobs of `k8s/monitoring/prometheus.yml`, each with the addresses of its admin ports.
    pub jobs: Vec<(&'static str, Vec<SocketAddr>)>,
    /// The folder of the rules, instead of `k8s/monitoring/rules`.
    pub rules: Option<PathBuf>,
    /// How often, instead of what the file says.
    pub every: Option<Duration>,
}

/// Where the configuration is that compose and Kubernetes use.
fn shared_config() -> PathBuf {
    repository().join("k8s/monitoring/prometheus.yml")
}

/// Where the rules are that compose and Kubernetes use.
pub fn shared_rules() -> PathBuf {
    repository().join("k8s/monitoring/rules")
}

impl Prometheus {
    /// Starts one, and returns when it answers.
    pub async fn watch(place: Place, watched: &Watched) -> Result<Self, StartError> {
        let shared = shared_config();
        let text = std::fs::read_to_string(&shared)
            .map_err(StartError::file("configuration could not be read", &shared))?;
        std::fs::create_dir_all(&place.data)
            .map_err(StartError::file("folder could not be made", &place.data))?;
        let own = config_in(&place.data);
        std::fs::write(&own, watched.config(&text))
            .map_err(StartError::file("configuration could not be written", &own))?;
        Self::start(place).await
    }

    /// Where its pages and its API are.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }
}

impl Watched {
    /// The shared configuration with other targets: everything else stays, but for the place of the
    /// rules, and how often.
    fn config(&self, shared: &str) -> String {
        let mut job = "";
        let lines = shared.lines().map(|line| {
            let (indent, setting) = line.split_at(line.len() - line.trim_start().len());
            if let Some(name) = setting.strip_prefix("- job_name: ") {
                job = name;
            }
            match (setting.split_once(':').map(|it| it.0), self.every) {
                (Some("dns_sd_configs"), _) => {
                    format!("{indent}static_configs: [{{ targets: {:?} }}]", self.targets(job))
                }
                (Some("rule_files"), _) => {
                    let rules = self.rules.clone().unwrap_or_else(shared_rules);
                    format!("{indent}rule_files: [\"{}\"]", rules.join("*.yml").display())
                }
                (Some(name @ ("scrape_interval" | "evaluation_interval")), Some(every)) => {
                    format!("{indent}{name}: {}ms", every.as_millis())
                }
                _ => line.to_owned(),
            }
        });
        lines.collect::<Vec<_>>().join("\n") + "\n"
    }

    fn targets(&self, job: &str) -> Vec<String> {
        let found = self.jobs.iter().find(|it| it.0 == job);
        found.map_or_else(Vec::new, |(_, at)| at.iter().map(ToString::to_string).collect())
    }
}

/// How Prometheus is started.
#[derive(Debug)]
pub struct PrometheusRecipe {
    port: u16,
}

impl Recipe for PrometheusRecipe {
    const NAME: &'static str = "Prometheus";
    const PORT_VARIABLE: &'static str = "LOCAL_PROMETHEUS_PORT";
    const READY_WITHIN: Duration = Duration::from_mins(1);
    const PORT_TAKEN: &'static str = "address already in use";
    const STOP: StopSignal = StopSignal::Terminate;

    async fn prepare(place: &Place, port: u16) -> Result<(Self, Launch), StartError> {
        let program = Program::installed("prometheus", "with --monitoring")?
            .arg(flag("config.file", &config_in(&place.data)))
            .arg(flag("storage.tsdb.path", &place.data.join("tsdb")))
            .arg("--storage.tsdb.retention.time=7d")
            .arg(format!("--web.listen-address=127.0.0.1:{port}"));
        Ok((Self { port }, Launch(program)))
    }

    async fn probe(&self) -> Result<(), String> {
        crate::service::ask(&format!("http://127.0.0.1:{}/-/ready", self.port)).await
    }
}

fn config_in(data: &Path) -> PathBuf {
    data.join("prometheus.yml")
}

fn flag(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARED: &str = "\
global:
  scrape_interval: 5s
  evaluation_interval: 5s

rule_files: [/etc/prometheus/rules/*.yml]

scrape_configs:
  - job_name: ingest-api
    dns_sd_configs: [{ names: [ingest-api-admin], type: A, port: 9081 }]
  - job_name: other
    dns_sd_configs: [{ names: [other-admin], type: A, port: 9082 }]
";

    #[test]
    fn only_targets_intervals_and_the_place_of_the_rules_change() {
        let watched = Watched {
            jobs: vec![("ingest-api", vec![SocketAddr::from(([127, 0, 0, 1], 9081))])],
            rules: Some("/rules".into()),
            every: Some(Duration::from_secs(1)),
        };

        assert_eq!(
            watched.config(SHARED),
            "\
global:
  scrape_interval: 1000ms
  evaluation_interval: 1000ms

rule_files: [\"/rules/*.yml\"]

scrape_configs:
  - job_name: ingest-api
    static_configs: [{ targets: [\"127.0.0.1:9081\"] }]
  - job_name: other
    static_configs: [{ targets: [] }]
"
        );
    }
}
