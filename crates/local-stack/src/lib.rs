//! Real Kafka, Postgres and Redis on this machine, for `make run` and for tests.
//!
//! [`kafka::Kafka`], [`postgres::Postgres`] and [`redis::Redis`] each start one private server and
//! end it when dropped; [`kafka::Cluster`] is three brokers; [`stack::Stack`] is one of each kind of
//! server together; [`secured`] makes a server demand TLS and a login; [`prometheus::Prometheus`]
//! watches services; [`testing`] is what a test asks for its part of a stack that is already up.

pub mod children;
pub mod error;
pub mod kafka;
mod launch;
pub mod place;
pub mod postgres;
mod process;
mod procfs;
pub mod prometheus;
pub mod redis;
pub mod secured;
pub mod server;
pub mod service;
pub mod stack;
pub mod testing;
pub mod topics;

pub use error::{LogTail, StartError};
pub use place::{Place, Port, repository};
