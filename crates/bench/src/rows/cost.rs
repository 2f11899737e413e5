//! What two servers take of the processor for each request, side by side, at the same fixed rate.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::ensure;
use e2e::Service;
use tokio::time::sleep;

use super::Effort;
use crate::{
    cpu,
    load::{self, Pace, Plan, Requests},
    pairs::Pairs,
    report::{Row, Target, float, number},
};

/// Until connections are open and what slept is awake. Not measured.
const WARM_UP: Duration = Duration::from_millis(500);

/// How much of a fixed rate has to be reached, or it was not that rate at which things were compared. A
/// shared machine may stand still for half a second.
const REACHED: f64 = 0.8;

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

/// What a server did under a load.
#[derive(Clone, Copy, Debug)]
struct Run {
    us_for_each: f64,
    per_second: f64,
}

/// What was measured, in microseconds of processor for each request.
pub(super) struct Cost {
    /// As far as both go.
    pushed: (Run, Run),
    /// Requests a second at which they were compared.
    per_second: f64,
    pairs: Pairs,
}

impl Cost {
    /// Pushes both as far as one thread of load can, and then compares them at half of what the first
    /// of them did.
    ///
    /// At the same rate, or the faster one would have more requests to share its wake-ups, and its
    /// batches to Kafka, among.
    pub(super) async fn compare<R: Requests + 'static>(
        effort: Effort,
        connections: u32,
        (server, bare): (Server, Server),
        requests: impl Fn(u32) -> R + Clone + Send + 'static,
    ) -> anyhow::Result<Self> {
        let to = server.address;
        let push = Plan { to, connections, pace: Pace::Closed, lasts: effort.load };
        // Once for nothing: a broker that was just started, where there is one, compiles itself meanwhile.
        run(push, bare, requests.clone()).await?;
        let pushed =
            (run(push, server, requests.clone()).await?, run(push, bare, requests.clone()).await?);
        let per_second = pushed.0.per_second / 2.0;
        let pairs = Pairs::measure(
            effort.pairs,
            async || at_rate(per_second, push, server, requests.clone()).await,
            async || at_rate(per_second, push, bare, requests.clone()).await,
        )
        .await?;
        Ok(Self { pushed, per_second, pairs })
    }

    /// The row of the report about it.
    pub(super) fn row(
        &self,
        row: &'static str,
        (measured, against): (&str, &str),
        request: &str,
        target: Target,
    ) -> Row {
        let with_push = |name: &str, Run { us_for_each, per_second }: Run| {
            format!("{name} (pushed to {} a second, once: {us_for_each:.1} µs)", number(per_second))
        };
        let (first, second) = self.pushed;
        let names = (with_push(measured, first), with_push(against, second));
        let rate = number(self.per_second);
        let unit = format!("µs of processor for each {request} at {rate} a second");
        Row::of_pairs(row, (&names.0, &names.1), &unit, &self.pairs, target)
    }
}

/// Microseconds of processor for each request, where so many come a second.
async fn at_rate<R: Requests + 'static>(
    per_second: f64,
    plan: Plan,
    server: Server,
    requests: impl Fn(u32) -> R + Send + 'static,
) -> anyhow::Result<f64> {
    let plan = Plan { pace: Pace::Open { per_second }, ..plan };
    let done = run(plan, server, requests).await?;
    ensure!(
        done.per_second >= per_second * REACHED,
        "{} of {} requests a second were answered",
        number(done.per_second),
        number(per_second)
    );
    Ok(done.us_for_each)
}

/// Loads a server for a moment longer than `plan` says, and looks at it from that moment on.
async fn run<R: Requests + 'static>(
    plan: Plan,
    server: Server,
    requests: impl Fn(u32) -> R + Send + 'static,
) -> anyhow::Result<Run> {
    let accepted = Arc::new(AtomicU64::new(0));
    let whole = Plan { to: server.address, lasts: WARM_UP + plan.lasts, ..plan };
    let load = load::run_and_tell(whole, requests, Arc::clone(&accepted));
    let look = async {
        sleep(WARM_UP).await;
        let before = (cpu::taken_by(server.pid)?, accepted.load(Ordering::Relaxed));
        sleep(plan.lasts).await;
        let after = (cpu::taken_by(server.pid)?, accepted.load(Ordering::Relaxed));
        anyhow::Ok((after.0.saturating_sub(before.0), after.1 - before.1))
    };
    let (answers, (taken, answered)) = tokio::try_join!(load, look)?;
    answers.all_accepted()?;
    ensure!(answered > 0, "nothing was answered");
    Ok(Run {
        us_for_each: taken.as_secs_f64() * 1e6 / float(answered),
        per_second: float(answered) / plan.lasts.as_secs_f64(),
    })
}
