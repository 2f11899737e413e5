//! Puts the service together, and takes it apart in the right order.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use click_store::{ActiveAdsCache, Projection, Redis, RedisLimits, read_only_pool};
use prometheus_client::registry::Registry;
use service_kit::{
    admin,
    dependencies::Dependency,
    http::{self, Direct, Load, ServerLimits, ServerMetrics},
    metrics::HttpMetrics,
    open_files,
    readiness::Readiness,
    settings::{CaFile, groups::PublicShutdown},
    shutdown::{not_ready_then_stop, within},
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    active_ads::ActiveAds,
    api::{self, Api},
    config::Config,
    direct::Totals,
    guard::Guard,
    metrics::{Metrics, ViewAge},
    reader::Reader,
    vast::Vast,
    watch::watch,
};

/// How long the admin port and the background tasks may take behind the last answer.
const REST: Duration = Duration::from_secs(2);

/// The service, listening but not yet answering.
pub struct Server {
    public: TcpListener,
    admin: TcpListener,
    api: Direct<Totals>,
    reader: Arc<Reader>,
    registry: Registry,
    postgres: Dependency,
    limits: ServerLimits,
    door: ServerMetrics,
    plan: PublicShutdown,
}

/// Listens on both ports, and begins to connect to Redis.
///
/// # Errors
///
/// Where a port is taken or a store's URL is malformed.
pub async fn bind(config: Config) -> anyhow::Result<Server> {
    let mut registry = Registry::default();
    let http_metrics = HttpMetrics::register(&mut registry, &api::ROUTES);
    let door = ServerMetrics::register(&mut registry);
    let load = Load::new(config.port.max_in_flight.get(), door.clone());
    let [postgres] = Dependency::register(&mut registry, ["postgres"]);
    let metrics = Metrics::register(&mut registry);

    let (reader, active_ads, vast) = stores(&config, &metrics)?;
    let watched = Arc::clone(&reader);
    ViewAge::register(&mut registry, move || watched.view_age());
    let api = Api::new(Arc::clone(&reader), active_ads, vast, config.max_age, metrics);

    Ok(Server {
        public: http::listen(config.listen).await?,
        admin: http::listen(config.admin_listen).await?,
        api: api::api(Arc::new(api), &load, &config.cors_origins, &http_metrics),
        reader,
        registry,
        postgres,
        limits: config.port.limits(
            open_files::make_room_for(config.port.max_connections.get()),
            config.trusted_proxies.clone(),
            config.shutdown.grace(REST),
        ),
        door,
        plan: config.shutdown,
    })
}

impl Server {
    /// Where the public API is served.
    ///
    /// # Errors
    ///
    /// Where the system cannot tell.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.public.local_addr()
    }

    /// Where health and metrics are served.
    ///
    /// # Errors
    ///
    /// Where the system cannot tell.
    pub fn admin_address(&self) -> std::io::Result<SocketAddr> {
        self.admin.local_addr()
    }

    /// Serves until `shutdown` is cancelled: then it is not ready, after `SHUTDOWN_DELAY` stops
    /// accepting, answers what is in flight, and returns, all within `SHUTDOWN_TIMEOUT`.
    ///
    /// # Errors
    ///
    /// Where it was cut short, or a background task ends early, which only a panic can make it do.
    pub async fn serve(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        within(&shutdown, self.plan.timeout, self.serve_to_end(shutdown.clone())).await
    }

    async fn serve_to_end(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self { public, admin, api, reader, registry, postgres, limits, door, plan } = self;
        info!(http.address = %public.local_addr()?, admin.address = %admin.local_addr()?, "serving");

        let readiness = Readiness::new();
        let check = readiness.register("stores");
        // Ends last, so that probes and Prometheus can watch the draining.
        let drained = CancellationToken::new();
        let mut background = JoinSet::new();
        background.spawn(admin::serve(admin, registry, readiness.clone(), drained.clone()));
        background.spawn(watch(reader, postgres, check, drained.clone()));

        let stop = CancellationToken::new();
        let serving = http::serve(public, api, limits, door, stop.clone());
        let stopping = not_ready_then_stop(&shutdown, plan, &readiness, &stop);
        let ended_early = tokio::select! {
            _both = async { tokio::join!(serving, stopping) } => None,
            ended = background.join_next() => ended,
        };

        drained.cancel();
        while let Some(ended) = background.join_next().await {
            ended.context("background task")?;
        }
        match ended_early {
            None => Ok(()),
            Some(ended) => ended
                .context("background task")
                .and_then(|()| anyhow::bail!("a background task ended before the service")),
        }
    }
}

/// Makes the readers. They share the connections, and two of them the guard in front of Redis.
fn stores(config: &Config, metrics: &Metrics) -> anyhow::Result<(Arc<Reader>, ActiveAds, Vast)> {
    let limit = config.postgres_timeout;
    let pool =
        read_only_pool(&config.postgres.url, "analytics-api", config.pool_size.get(), limit)?;
    let limits = RedisLimits { command: Guard::command_limit(config.redis_budget) };
    let redis = &config.redis;
    let ca_file = redis.ca_file.as_ref().map(CaFile::path);
    let redis = Redis::connect(&redis.url, ca_file, &redis.prefix, limits)?;
    let guard = Arc::new(Guard::new(redis.clone(), config.redis_budget, metrics.clone()));

    let projection = Projection::new(redis.clone());
    let cache = ActiveAdsCache::new(redis);
    let reader = Reader::new(pool.clone(), limit, projection, Arc::clone(&guard), metrics.clone());
    let active_ads = ActiveAds::new(pool.clone(), limit, cache, guard, metrics.clone());
    let vast = Vast::new(pool, config.pool_size, limit, config.ingest.clone());
    Ok((Arc::new(reader), active_ads, vast))
}
