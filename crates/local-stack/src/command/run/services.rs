//! The three services: their settings on one machine, and the order in which they start.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use local_stack::service::{Plan, Service, check_free};
use service_kit::settings::{Env, Settings, Vars};

use crate::command::stores::{Addresses, log};

/// Everything that is known of the services before the stores are up.
#[derive(Debug)]
pub(crate) struct Plans {
    settings: LocalSettings,
    folder: PathBuf,
    binaries: PathBuf,
}

/// The settings that have another default on one machine. What the user has set stays.
#[derive(Debug)]
struct LocalSettings {
    ingest: SocketAddr,
    ingest_admin: SocketAddr,
    analytics: SocketAddr,
    analytics_admin: SocketAddr,
    consumer_admin: SocketAddr,
    texts: Vec<(&'static str, String)>,
}

/// The running services.
#[derive(Debug)]
pub(crate) struct Services {
    pub(crate) all: [Service; 3],
}

impl Plans {
    pub(crate) fn new(folder: &Path) -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("own binary could not be found")?;
        let binaries = own.parent().context("own binary is in no folder")?.to_owned();
        let folder = std::path::absolute(folder)?;
        Ok(Self { settings: Env::from_process().read()?, folder, binaries })
    }

    /// Fails where another program has one of the services' ports.
    pub(crate) fn check_ports(&self) -> anyhow::Result<()> {
        let it = &self.settings;
        check_free(it.ingest, "ingest-api", "INGEST_LISTEN")?;
        check_free(it.ingest_admin, "ingest-api", "INGEST_ADMIN_LISTEN")?;
        check_free(it.analytics, "analytics-api", "ANALYTICS_LISTEN")?;
        check_free(it.analytics_admin, "analytics-api", "ANALYTICS_ADMIN_LISTEN")?;
        check_free(it.consumer_admin, "click-consumer", "CONSUMER_ADMIN_LISTEN")?;
        Ok(())
    }

    pub(crate) fn ingest_url(&self) -> String {
        url(self.settings.ingest)
    }

    pub(crate) fn analytics_url(&self) -> String {
        url(self.settings.analytics)
    }

    /// Each service with the address of its health and metrics.
    pub(crate) fn admin_urls(&self) -> [(&'static str, String); 3] {
        let it = &self.settings;
        [
            ("ingest-api", url(it.ingest_admin)),
            ("click-consumer", url(it.consumer_admin)),
            ("analytics-api", url(it.analytics_admin)),
        ]
    }

    /// Each service as Prometheus knows it, with the address of its metrics.
    pub(crate) fn metrics(&self) -> Vec<(&'static str, Vec<SocketAddr>)> {
        let it = &self.settings;
        vec![
            ("ingest-api", vec![reachable(it.ingest_admin)]),
            ("click-consumer", vec![reachable(it.consumer_admin)]),
            ("analytics-api", vec![reachable(it.analytics_admin)]),
        ]
    }

    /// The folder of our own binary, where the others are too.
    pub(crate) fn binary(&self, name: &str) -> PathBuf {
        self.binaries.join(name)
    }

    fn plan(&self, name: &'static str, admin: SocketAddr, addresses: &Addresses) -> Plan {
        let it = &self.settings;
        let listen = [
            ("INGEST_LISTEN", it.ingest),
            ("INGEST_ADMIN_LISTEN", it.ingest_admin),
            ("ANALYTICS_LISTEN", it.analytics),
            ("ANALYTICS_ADMIN_LISTEN", it.analytics_admin),
            ("CONSUMER_ADMIN_LISTEN", it.consumer_admin),
        ];
        let listen = listen.map(|(name, address)| (name, address.to_string()));
        let environment =
            it.texts.iter().cloned().chain(listen).chain(addresses.variables()).collect();
        Plan {
            name,
            binary: self.binary(name),
            environment,
            admin: reachable(admin),
            log: log(&self.folder, name),
            pid_file: self.folder.join("data").join(format!("{name}.pid")),
        }
    }
}

impl Settings for LocalSettings {
    fn read(vars: &mut Vars) -> Self {
        let mut text = |name, default, help| (name, vars.or::<String>(name, default, help));
        let loopback = "127.0.0.0/8,::1/128";
        let mut texts = vec![
            text("LOG_FORMAT", "text", "For people to read"),
            // The sample is of 2019.
            text("MAX_EVENT_AGE", "10y", "How old an event may be and still count"),
            text("TRUSTED_PROXIES", loopback, "Whose X-Forwarded-For counts"),
            text("TRUSTED_SENDERS", loopback, "Who may post for others"),
        ];
        let ingest = vars.or("INGEST_LISTEN", "127.0.0.1:8081", "Public API");
        let public: Option<String> = vars.optional("PUBLIC_INGEST_URL", "Where players send to");
        texts.push(("PUBLIC_INGEST_URL", public.unwrap_or_else(|| url(ingest))));
        Self {
            ingest,
            ingest_admin: vars.or("INGEST_ADMIN_LISTEN", "127.0.0.1:9081", "Health and metrics"),
            analytics: vars.or("ANALYTICS_LISTEN", "127.0.0.1:8082", "Public API"),
            analytics_admin: vars.or(
                "ANALYTICS_ADMIN_LISTEN",
                "127.0.0.1:9082",
                "Health and metrics",
            ),
            consumer_admin: vars.or(
                "CONSUMER_ADMIN_LISTEN",
                "127.0.0.1:9083",
                "Health and metrics",
            ),
            texts,
        }
    }
}

impl Services {
    /// Starts all three, and returns when each is ready.
    pub(crate) async fn start(plans: &Plans, addresses: &Addresses) -> anyhow::Result<Self> {
        let it = &plans.settings;
        let plan = |name, admin| plans.plan(name, admin, addresses);

        // First, because it brings the database up to date, which the analytics need.
        let mut consumer = Service::start(plan("click-consumer", it.consumer_admin))?;
        consumer.ready().await?;
        let mut ingest = Service::start(plan("ingest-api", it.ingest_admin))?;
        let mut analytics = Service::start(plan("analytics-api", it.analytics_admin))?;
        tokio::try_join!(ingest.ready(), analytics.ready())?;
        Ok(Self { all: [ingest, consumer, analytics] })
    }

    /// Asks all to stop at once, and kills what has not after `grace`.
    pub(crate) async fn stop(&mut self, grace: Duration) {
        let [one, two, three] = &mut self.all;
        tokio::join!(one.stop(grace), two.stop(grace), three.stop(grace));
    }
}

fn url(address: SocketAddr) -> String {
    format!("http://{}", reachable(address))
}

/// Where to find a service that listens on every address.
fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port())
    } else {
        address
    }
}
