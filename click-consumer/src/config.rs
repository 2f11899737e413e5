//! Every setting of the service.

use std::{net::SocketAddr, time::Duration};

use service_kit::{
    AdminPort,
    settings::{Bytes, Settings, Vars, groups},
};

/// Settings, checked and ready for use.
#[derive(Debug)]
pub struct Config {
    pub kafka: groups::Kafka,
    /// `CONSUMER_GROUP`: the consumer group. Every consumer of one pipeline has the same.
    /// Defaults to `click-consumer`.
    pub group: String,
    pub postgres: groups::Postgres,
    pub redis: groups::Redis,
    /// `MAX_EVENT_AGE`, `MAX_EVENT_AHEAD`: never stricter than ingest's, or clicks that were answered
    /// with success become dead letters.
    pub age: groups::EventAge,
    pub shutdown: groups::Shutdown,
    /// `CONSUMER_ADMIN_LISTEN`: where health and metrics are served. Defaults to
    /// `0.0.0.0:9083`.
    pub admin_listen: SocketAddr,
    /// `BATCH_MAX_EVENTS`: how many events one transaction stores at most, 1 to 100,000.
    ///
    /// More is faster, as each takes some milliseconds whatever is in it (`docs/PERFORMANCE.md`), and
    /// keeps the rows of `consumer_offsets` locked for longer.
    ///
    /// Defaults to 10,000.
    pub batch_max_events: usize,
    /// `BATCH_MAX_BYTES`: how large the records of one batch may be together, 64 KiB or more. Three
    /// batches are in memory, and one more while it is freed. Defaults to `8MiB`.
    pub batch_max_bytes: Bytes,
    /// `BATCH_MAX_AGE`: how long the first event of a batch waits for others. This much is added to
    /// the time until an event is counted. At most 10 s. Defaults to `100ms`.
    pub batch_max_age: Duration,
    /// `MIGRATE_ON_START`: whether to bring the database up to this release first. Defaults to
    /// `true`.
    pub migrate_on_start: bool,
}

impl AdminPort for Config {
    fn admin_listen(&self) -> SocketAddr {
        self.admin_listen
    }
}

impl Settings for Config {
    fn read(vars: &mut Vars) -> Self {
        let kafka = groups::Kafka::read(vars);
        let group = vars.or(
            "CONSUMER_GROUP",
            "click-consumer",
            "Consumer group; the same for every consumer of one pipeline",
        );
        let postgres = groups::Postgres::read(vars);
        let redis = groups::Redis::read(vars);
        let batch_max_events = vars.or(
            "BATCH_MAX_EVENTS",
            "10000",
            "How many events one transaction stores at most, 1 to 100000",
        );
        vars.check(
            "BATCH_MAX_EVENTS",
            (1..=100_000).contains(&batch_max_events),
            "must be between 1 and 100000",
        );
        let batch_max_bytes: Bytes = vars.or(
            "BATCH_MAX_BYTES",
            "8MiB",
            "How large the records of one batch may be together; three are in memory, and one more while it is freed",
        );
        vars.check("BATCH_MAX_BYTES", batch_max_bytes.0 >= 64 * 1024, "must be 64KiB or more");
        let batch_max_age: Duration = vars.or(
            "BATCH_MAX_AGE",
            "100ms",
            "How long the first event of a batch waits for others",
        );
        vars.check(
            "BATCH_MAX_AGE",
            batch_max_age <= Duration::from_secs(10),
            "must be 10s or less",
        );
        Self {
            kafka,
            group,
            postgres,
            redis,
            age: groups::EventAge::read(vars),
            batch_max_events,
            batch_max_bytes,
            batch_max_age,
            migrate_on_start: vars.or(
                "MIGRATE_ON_START",
                "true",
                "Whether to bring the database up to this release first",
            ),
            admin_listen: vars.or(
                "CONSUMER_ADMIN_LISTEN",
                "0.0.0.0:9083",
                "Where the consumer serves health and metrics",
            ),
            shutdown: groups::Shutdown::read(vars),
        }
    }
}
