//! Takes ad clicks and impressions over HTTP and puts them on Kafka.

mod api;
mod circuit;
mod client;
mod config;
mod contract;
mod delivery;
mod direct;
mod error;
mod kafka_client;
mod keeper;
mod links;
mod metrics;
mod overload;
mod privacy;
mod producer;
mod rate_limit;
mod report;
mod routes;
mod server;
mod spans;
mod spool;
mod table;
mod watch;

use service_kit::openapi::Contract;
use steady_waits as _;
use tokio_util::sync::CancellationToken;

pub use crate::{
    config::{Config, SpoolConfig},
    links::Links,
    privacy::Privacy,
    rate_limit::{Overrides, RateLimitConfig, SharedLimitConfig, redis_rules},
    server::{Server, bind},
    spool::OpenError,
};

/// Serves until `shutdown` is cancelled and every request in flight is answered.
///
/// # Errors
///
/// Where a port is taken or librdkafka refuses the settings. That Kafka does not answer is no error:
/// players get 503 until it does.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    bind(config).await?.serve(shutdown).await
}

/// What the public API promises, as it is served at `/openapi.json`.
pub fn contract() -> Contract {
    contract::contract()
}
