//! The three services as real processes, for tests of the whole pipeline.
//!
//! A test makes a [`Pipeline`] (a database, topics and keys of its own), starts [`Service`]s in it,
//! does something to them, and compares the [`Counts`] that the stores and the API give:
//!
//! ```no_run
//! # use e2e::{Pipeline, Program, Sample};
//! # async fn example() {
//! let pipeline = Pipeline::new("example").await;
//! let ingest = pipeline.start(Program::Ingest, &[]).await;
//! let mut consumer = pipeline.start(Program::Consumer, &[]).await;
//! let sample = Sample::read();
//! let replay = pipeline.replay(&sample, &ingest, &[]);
//! pipeline.until_counted(1_000).await;
//! consumer.kill_9();
//! consumer.restart();
//! assert_eq!(replay.exit_code().await, 0);
//! assert_eq!(pipeline.settle().await, sample.counts);
//! # }
//! ```
//!
//! - [`Service`] and [`Process`]: started, awaited, terminated, killed, started again; never left
//!   behind. The tail of each one's log is printed when a test fails, the whole of it is in
//!   `target/e2e-logs`;
//! - [`Client`], [`Load`] and [`Watch`]: events over HTTP, one by one or many at once, and somebody
//!   who looks whether a number ever goes down;
//! - [`Flood`] asks more than a service can answer, and [`Throttle`] makes that little;
//! - [`Proxy`] breaks a link, [`Observer`] watches while things break, and `Pipeline::check` holds what
//!   players were told against what is stored (the tests in `tests/faults`);
//! - [`chaos::Chaos`] does all of that at random (`make chaos`);
//! - [`Collector`] takes the spans that services export;
//! - [`Watcher`] is a Prometheus that watches the services;
//! - [`until`] and its kin wait for a condition, never for time to pass;
//! - [`settings`], [`contracts`], [`documents`], [`telemetry`] and [`monitoring`]: what is written about
//!   the settings, the APIs and the metrics.
//!
//! The binaries must be there: `cargo build --workspace --bins`. Cargo builds a crate's own binaries
//! for its tests, but not those of others, so a test after a change without that command tests the
//! services as they were.

#![expect(clippy::missing_panics_doc, reason = "every helper panics where a test should fail")]

pub mod chaos;
mod check;
mod client;
mod clock;
mod collector;
pub mod contracts;
mod counts;
pub mod documents;
mod flood;
mod idle_crowd;
pub mod kafka;
mod load;
mod memory;
pub mod monitoring;
mod observer;
mod pipeline;
mod ports;
pub mod postgres;
mod process;
pub mod prometheus;
mod proxy;
pub mod redis;
mod sample;
mod secured;
mod service;
pub mod settings;
mod small_disk;
mod stores;
pub mod telemetry;
mod throttle;
mod topic;
mod wait;
mod watch;

pub use crate::{
    check::CAUGHT_UP_WITHIN,
    client::{Answer, Client, click},
    clock::Clock,
    collector::{COLLECTOR_HEADERS, Collector, SpanKind, SpanSeen},
    counts::{AdCounts, Counts},
    flood::{Flood, Flooded},
    idle_crowd::IdleCrowd,
    load::{Load, Players, Sent},
    memory::Memory,
    observer::{Observed, Observer},
    pipeline::{Pipeline, Services},
    ports::free_address,
    process::{Process, freeze, thaw},
    prometheus::Watcher,
    proxy::{Link, Proxy, Request},
    sample::Sample,
    secured::{Parts, SecuredStores, password_of},
    service::{Program, Service},
    small_disk::SmallDisk,
    throttle::Throttle,
    wait::{LIMIT, let_last, until, until_equal, until_within},
    watch::{Watch, Watched},
};
