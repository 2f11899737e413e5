//! What two servers take of the processor for each request, side by side, at the same fixed rate.

use std::{net::SocketAddr, time::Duration};

use e2e::Service;

use super::Effort;
use crate::{
    cpu,
    load::{self, Pace, Plan, Requests},
    pairs::Pairs,
    report::{float, number},
};

/// A server, and which process it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) pid: u32,
}

impl Server {
    pub(super) fn of(service: &Service) -> Self {
        Self { address: service.address(), pid: service.process().id() }
    }
}

/// What was measured, in microseconds of processor for each request.
pub(super) struct Cost {
    pub(super) pairs: Pairs,
    per_second: f64,
}

impl Cost {
    /// Pushes both as far as they go, which also warms up what is behind them; and then compares them
    /// at half of what `measured` could do.
    ///
    /// At the same rate, or the faster one would have more requests to share its wake-ups, and its
    /// batches to Kafka, among.
    pub(super) async fn compare<R: Requests + 'static>(
        effort: Effort,
        connections: u32,
        (measured, bare): (Server, Server),
        requests: impl Fn(u32) -> R + Clone + Send + 'static,
    ) -> anyhow::Result<Self> {
        let to = measured.address;
        let push = Plan { to, connections, pace: Pace::Closed, lasts: effort.load };
        load::run(Plan { to: bare.address, ..push }, requests.clone()).await?.all_accepted()?;
        let most = load::run(push, requests.clone()).await?.all_accepted()?.per_second();
        let per_second = most / 2.0;
        let plan = Plan { pace: Pace::Open { per_second }, ..push };
        let pairs = Pairs::measure(
            effort.pairs,
            async || for_each_request(plan, measured, requests.clone()).await,
            async || for_each_request(plan, bare, requests.clone()).await,
        )
        .await?;
        Ok(Self { pairs, per_second })
    }

    /// What is compared, for the report.
    pub(super) fn unit(&self, request: &str) -> String {
        format!("µs of processor for each {request}, at {} a second", number(self.per_second))
    }
}

async fn for_each_request<R: Requests + 'static>(
    plan: Plan,
    server: Server,
    requests: impl Fn(u32) -> R + Clone + Send + 'static,
) -> anyhow::Result<f64> {
    /// Until the connections are there, and whatever slept is awake.
    const WARM_UP: Duration = Duration::from_millis(300);
    let plan = Plan { to: server.address, ..plan };
    load::run(Plan { lasts: WARM_UP, ..plan }, requests.clone()).await?;
    let before = cpu::taken_by(server.pid)?;
    let answers = load::run(plan, requests).await?.all_accepted()?;
    let taken = cpu::taken_by(server.pid)?.saturating_sub(before);
    Ok(taken.as_secs_f64() * 1e6 / float(answers.all()))
}
