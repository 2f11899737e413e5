//! Answers which ads are running and how each one is doing, from Redis or else from Postgres.
//!
//! Postgres holds the truth; Redis holds a projection of it that can be lost, late or of another
//! time. `trust` says when Redis may be believed, `reader` asks the stores by those rules, `guard`
//! keeps a slow Redis from slowing every request, and `flight` lets many requests share one read.
//! `vast` serves an ad to a video player.

mod active_ads;
mod analytics;
mod answer;
mod api;
mod breaker;
mod changes;
mod config;
mod ctr;
mod direct;
mod error;
mod flight;
mod guard;
mod health;
mod metrics;
mod reader;
mod server;
mod spans;
mod trust;
mod vast;
mod watch;

use service_kit::openapi::Contract;
use tokio_util::sync::CancellationToken;

pub use crate::{
    config::Config,
    server::{Server, bind},
    vast::PublicUrl,
};

/// Serves until `shutdown` is cancelled and every request in flight is answered.
///
/// # Errors
///
/// Where a port is taken or a store's URL is malformed. That a store does not answer is no error:
/// the other one does, or clients get 503 until one does.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    bind(config).await?.serve(shutdown).await
}

/// What the public API promises, as it is served at `/openapi.json`.
pub fn contract() -> Contract {
    api::contract()
}
