//! The ingest service against a real Kafka, over HTTP.

mod batch;
mod cors;
mod door;
mod errors;
mod events;
mod harness;
mod limits;
mod links;
mod metrics;
mod outages;
mod packed;
mod pixels;
mod privacy;
mod shared_limits;
mod shutdown;
mod spool;
mod spool_crashes;
