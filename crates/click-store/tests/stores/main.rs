//! Both sides of the stores, against a real Postgres and a real Redis.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests: what should have been true is said by the line itself"
)]

mod acl;
mod audit;
mod counting;
mod counting_pool;
mod days;
mod fences;
mod harness;
mod projection;
mod rebuild;
mod repair;
mod roles;
mod rows;
mod schema;
mod secured;
