//! The pipeline end to end: the three services as processes, on real Kafka, Postgres and Redis.

mod analytics_errors;
mod contracts;
mod counting;
mod crashes;
mod documents;
mod door;
mod ingest_errors;
mod limits;
mod metrics;
mod monitoring;
mod players;
mod privacy;
mod redis_outages;
mod replay;
mod secured;
mod settings;
mod sharing;
mod shutdown;
mod telemetry;
mod topics;
mod traces;
mod watched;
mod ways_in;
