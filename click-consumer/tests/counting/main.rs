//! Counting against a real Kafka, Postgres and Redis, with the consumer in this process.

mod dead_letters;
mod harness;
mod once;
mod redis;
mod start;
