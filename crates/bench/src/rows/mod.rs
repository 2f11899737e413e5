//! One module for each part of the pipeline that is measured.

pub(crate) mod analytics;
pub(crate) mod batches;
pub(crate) mod big_table;
mod cost;
pub(crate) mod counting;
pub(crate) mod growth;
pub(crate) mod headline;
pub(crate) mod ingest;
pub(crate) mod killed;
pub(crate) mod latency;
pub(crate) mod memory;
pub(crate) mod saturation;
mod search;
pub(crate) mod stage;
pub(crate) mod starts;
mod transactions;
pub(crate) mod without_redis;

use std::{
    net::SocketAddr,
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::Context as _;
use click_store::Ad;
use e2e::{free_address, until};
use local_stack::children;
use proto_schemas::AdId;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// How often A and B are measured in turn.
    pub(crate) pairs: usize,
    /// How long a load lasts.
    pub(crate) load: Duration,
    /// Events that are counted, copied or read at once.
    pub(crate) events: usize,
    /// How long a rate is tried while the highest is looked for.
    pub(crate) probe: Duration,
    /// How long the highest rate is to be kept up.
    pub(crate) headline: Duration,
}

impl Effort {
    pub(crate) const FULL: Self = Self {
        pairs: 5,
        load: Duration::from_secs(6),
        events: 500_000,
        probe: Duration::from_secs(4),
        headline: Duration::from_mins(1),
    };

    /// A few minutes for everything that a change is compared by.
    pub(crate) const QUICK: Self = Self {
        pairs: 5,
        load: Duration::from_millis(1500),
        events: 150_000,
        probe: Duration::from_secs(4),
        headline: Duration::from_secs(15),
    };
}

/// What ingest needs so that each request is of a viewer of its own, behind this machine as a proxy.
///
/// Viewers who were never seen before, at the most that a machine can do, are what it takes for a flood:
/// that they wait behind others is measured elsewhere (`crates/e2e/tests/flood`).
pub(crate) const BEHIND_A_PROXY: [(&str, &str); 3] =
    [("TRUSTED_PROXIES", "127.0.0.1"), ("TRUSTED_SENDERS", ""), ("INGEST_OVERLOAD_DELAY", "0s")];

/// An ad as an operator registers it.
pub(crate) fn ad(id: AdId) -> Ad {
    Ad {
        id,
        title: None,
        image_url: "https://cdn.example/ad.png".to_owned(),
        target_url: "https://advertiser.example/".to_owned(),
        media: None,
        active: true,
    }
}

/// Whose `malloc` a bare route has: that of the service that it is compared with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Allocator {
    Glibc,
    Jemalloc,
}

/// A bare route in a process of its own; killed when it is dropped.
pub(crate) struct BareRoute {
    process: Child,
    pub(crate) address: SocketAddr,
}

impl BareRoute {
    pub(crate) async fn start(allocator: Allocator, args: &[&str]) -> anyhow::Result<Self> {
        let address = free_address();
        let this = std::env::current_exe().context("where this program is")?;
        let program = match allocator {
            Allocator::Glibc => this,
            Allocator::Jemalloc => this.with_file_name("bench-with-jemalloc"),
        };
        let mut command = children::bound_to_this_thread(program.as_os_str());
        command.args(["bare", "--listen", &address.to_string()]).args(args).stdin(Stdio::null());
        let process = command.spawn().context("starting a bare route")?;
        until("the bare route listens", async || {
            tokio::net::TcpStream::connect(address).await.is_ok()
        })
        .await;
        Ok(Self { process, address })
    }

    fn server(&self) -> cost::Server {
        cost::Server { address: self.address, pid: self.process.id() }
    }
}

impl Drop for BareRoute {
    fn drop(&mut self) {
        // Both fail only where it has ended by itself.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
