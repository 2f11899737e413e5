//! Puts the service together, and takes it apart in the right order.

use std::{
    net::SocketAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use anyhow::Context as _;
use prometheus_client::registry::Registry;
use proto_schemas::Kind;
use service_kit::{
    admin,
    dependencies::Dependency,
    http::{self, Direct, Load, ServerLimits, ServerMetrics},
    metrics::HttpMetrics,
    open_files,
    readiness::Readiness,
    settings::groups::PublicShutdown,
    shutdown::{not_ready_then_stop, within},
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::{
    api::{self, Ingest},
    client::Trust,
    config::{Config, SpoolConfig},
    direct::SingleEvents,
    keeper::{Breaker, Keeper},
    metrics::{Gauges, Levels, Metrics},
    overload::{Overload, OverloadMetrics},
    producer::Producer,
    rate_limit::{LimitMetrics, RateLimits},
    spool::{Drain, Spool, SpoolMetrics, WriterThread},
    watch::watch,
};

/// The service, listening but not yet answering.
pub struct Server {
    public: TcpListener,
    admin: TcpListener,
    api: Direct<SingleEvents>,
    ingest: Arc<Ingest>,
    spooling: Option<Spooling>,
    registry: Registry,
    kafka: Dependency,
    limits: ServerLimits,
    door: ServerMetrics,
    plan: PublicShutdown,
    flush_within: Duration,
    drain_within: Duration,
}

/// What runs beside the requests where there is a spool.
struct Spooling {
    drain: Drain,
    thread: WriterThread,
}

/// Opens the spool, listens on both ports and makes the Kafka producer.
///
/// # Errors
///
/// Where a port is taken, the spool cannot be opened, or librdkafka refuses the settings.
pub async fn bind(config: Config) -> anyhow::Result<Server> {
    let mut registry = Registry::default();
    let http_metrics = HttpMetrics::register(&mut registry, &api::ROUTES);
    let door = ServerMetrics::register(&mut registry);
    let load = Load::new(config.port.max_in_flight.get(), door.clone());
    let [kafka] = Dependency::register(&mut registry, ["kafka"]);
    let metrics = Metrics::register(&mut registry);
    let producer = Producer::new(&config, metrics.clone()).context("making the kafka producer")?;
    let breaker = Breaker::default();
    let spool_metrics = SpoolMetrics::register(&mut registry);
    let spooling = open_spool(&config, &producer, &breaker, spool_metrics).await?;
    let spool = spooling.as_ref().map(|it| it.drain.spool.clone());
    registry.register_collector(Box::new(Spool::gauges(spool.as_ref())));
    let keeper = Keeper { producer, spool, breaker };
    let limit_metrics = LimitMetrics::register(&mut registry);
    let limits =
        RateLimits::new(config.rate_limits.clone(), config.privacy.secret(), limit_metrics)?;
    let overload = Overload::new(
        config.overload_delay,
        config.rate_limits.max_keys.get(),
        config.port.max_in_flight.get(),
        // The other half of all connections can always make room for new ones.
        config.port.max_connections.get() / 2,
        OverloadMetrics::register(&mut registry),
    );
    let ingest = Arc::new(ingest(&config, (load, overload, limits), keeper, metrics));
    let watched = Arc::downgrade(&ingest);
    Gauges::register(&mut registry, move || levels(&watched));

    let drain_within = config.spool.as_ref().map_or(Duration::ZERO, |it| it.drain_at_stop);
    let public = http::listen(config.listen).await?;
    let admin = http::listen(config.admin_listen).await?;
    Ok(Server {
        public,
        admin,
        api: api::api(&ingest, &config.cors_origins, &http_metrics),
        ingest,
        spooling,
        registry,
        kafka,
        limits: config.port.limits(
            open_files::make_room_for(config.port.max_connections.get()),
            config.trusted_proxies.and(&config.trusted_senders),
            // Together with the draining and the flush it stays within `SHUTDOWN_TIMEOUT`.
            config.shutdown.grace(drain_within + config.produce_timeout),
        ),
        door,
        plan: config.shutdown,
        flush_within: config.produce_timeout,
        drain_within,
    })
}

impl Server {
    #[cfg(test)]
    pub(crate) fn ingest(&self) -> &Arc<Ingest> {
        &self.ingest
    }

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
    /// accepting, answers what is in flight, drains the spool for `SPOOL_DRAIN_AT_STOP`, flushes the
    /// producer, closes the spool, and returns, all within `SHUTDOWN_TIMEOUT`.
    ///
    /// # Errors
    ///
    /// Where it was cut short, or a background task ends early, which only a panic can make it do.
    pub async fn serve(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        within(&shutdown, self.plan.timeout, self.serve_to_end(shutdown.clone())).await
    }

    async fn serve_to_end(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let Self { public, admin, api, ingest, spooling, registry, kafka, .. } = self;
        let Self { limits, door, plan, flush_within, drain_within, .. } = self;
        info!(http.address = %public.local_addr()?, admin.address = %admin.local_addr()?, "serving");

        let readiness = Readiness::new();
        let check = readiness.register("kafka");
        // Ends last, so that probes and Prometheus can watch the draining.
        let drained = CancellationToken::new();
        let (stop, stop_draining) = (CancellationToken::new(), CancellationToken::new());
        let mut background = JoinSet::new();
        background.spawn(admin::serve(admin, registry, readiness.clone(), drained.clone()));
        let Keeper { producer, spool, .. } = &ingest.keeper;
        background.spawn(watch(producer.clone(), spool.clone(), kafka, check, drained.clone()));
        background.spawn(watch_load(Arc::clone(&ingest), shutdown.clone(), drained.clone()));
        let spool_thread = spooling.map(|Spooling { drain, thread }| {
            background.spawn(drain_until(drain, stop_draining.clone(), drained.clone()));
            thread
        });

        let serving = http::serve(public, api, limits, door, stop.clone());
        let stopping = not_ready_then_stop(&shutdown, plan, &readiness, &stop);
        let ended_early = tokio::select! {
            _both = async { tokio::join!(serving, stopping) } => None,
            ended = background.join_next() => ended,
        };

        if ended_early.is_none() {
            ingest.keeper.drained(drain_within).await;
        }
        stop_draining.cancel();
        drained.cancel();
        while let Some(ended) = background.join_next().await {
            ended.context("background task")?;
        }
        let producer = ingest.keeper.producer.clone();
        // With it goes the last handle of the spool, whose thread then ends.
        drop(ingest);
        producer.close(flush_within).await.context("closing the producer")?;
        if let Some(thread) = spool_thread {
            let joined = tokio::task::spawn_blocking(|| thread.join()).await;
            joined.context("closing the spool")??;
        }
        match ended_early {
            None => Ok(()),
            Some(ended) => ended
                .context("background task")
                .and_then(|()| anyhow::bail!("a background task ended before the service")),
        }
    }
}

/// Opens the spool where there is to be one. Off the runtime, because it may have to be repaired.
async fn open_spool(
    config: &Config,
    producer: &Producer,
    breaker: &Breaker,
    metrics: SpoolMetrics,
) -> anyhow::Result<Option<Spooling>> {
    let Some(SpoolConfig { directory, max_bytes, drain_rate, .. }) = config.spool.clone() else {
        return Ok(None);
    };
    let open = move || Spool::open(&directory, max_bytes.0, metrics);
    let (spool, thread) = tokio::task::spawn_blocking(open).await??;
    let drain = Drain {
        spool,
        producer: producer.clone(),
        breaker: breaker.clone(),
        rate_per_second: drain_rate,
    };
    Ok(Some(Spooling { drain, thread }))
}

fn ingest(
    config: &Config,
    (load, overload, limits): (Load, Overload, RateLimits),
    keeper: Keeper,
    metrics: Metrics,
) -> Ingest {
    Ingest {
        trust: Trust {
            proxies: config.trusted_proxies.clone(),
            senders: config.trusted_senders.clone(),
        },
        limits,
        load,
        overload,
        body_timeout: config.body_timeout,
        age_limits: config.events,
        dedup_window: config.dedup_window,
        privacy: config.privacy.clone(),
        links: config.links.clone(),
        keeper,
        metrics,
    }
}

/// Weak, because the admin port must not keep the producer open.
fn levels(ingest: &Weak<Ingest>) -> Levels {
    let ingest = ingest.upgrade();
    let count = |number| i64::try_from(number).unwrap_or(i64::MAX);
    Levels {
        queued_events: ingest.as_ref().map_or(0, |it| it.keeper.producer.queued()),
        limiter_keys: Kind::ALL.map(|kind| {
            let keys = ingest.as_ref().map_or(0, |it| it.limits.keys(kind));
            (kind, count(keys))
        }),
    }
}

/// Ends with the other tasks, after the last answer.
async fn watch_load(ingest: Arc<Ingest>, shutdown: CancellationToken, drained: CancellationToken) {
    ingest.overload.watch(shutdown).await;
    drained.cancelled().await;
}

/// Drains until `stop`, also while the last requests are answered. An error ends the service before
/// `drained`, so that it is started anew.
async fn drain_until(drain: Drain, stop: CancellationToken, drained: CancellationToken) {
    match drain.run(stop).await {
        Ok(()) => drained.cancelled().await,
        Err(error) => error!(%error, "spool can no longer be drained"),
    }
}
