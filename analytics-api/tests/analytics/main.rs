//! The analytics service against a real Postgres and a real Redis, over HTTP.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests: what should have been true is said by the line itself"
)]

mod answers;
mod harness;
mod outages;
mod rules;
mod service;
mod shutdown;
mod stores;
mod vast;
