//! How a service stops: the signals that ask it to, the order of things, and the limit over all.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::readiness::Readiness;
use crate::settings::groups::PublicShutdown;

/// SIGTERM (from an orchestrator) and SIGINT (from a terminal), caught from now on.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Catches both signals, which from now on end the process no longer.
    ///
    /// # Errors
    ///
    /// If the system does not allow a handler.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal and returns its name.
    ///
    /// # Cancellation
    ///
    /// Cancel safe: a signal that was not returned is returned by the next call.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            // Both arms are cancel safe.
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Waits for `shutdown`, makes the service not ready at once, and cancels `stop` after
/// `SHUTDOWN_DELAY`.
///
/// `stop` is what the public port is served until: load balancers have the delay to notice that they
/// should send nothing any more.
pub async fn not_ready_then_stop(
    shutdown: &CancellationToken,
    plan: PublicShutdown,
    readiness: &Readiness,
    stop: &CancellationToken,
) {
    shutdown.cancelled().await;
    readiness.stopping();
    if !plan.delay.is_zero() {
        info!(delay = ?plan.delay, "not ready any more, serving on for load balancers to notice");
        sleep(plan.delay).await;
    }
    info!("not accepting any more, answering what is in flight");
    stop.cancel();
}

/// Runs a service, which is cut short where it takes longer than `limit` after `shutdown`.
///
/// # Errors
///
/// The service's own, or that it was cut short.
pub async fn within<F>(
    shutdown: &CancellationToken,
    limit: Duration,
    service: F,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let mut service = Box::pin(service);
    let too_late = async {
        shutdown.cancelled().await;
        sleep(limit).await;
    };
    tokio::select! {
        biased;

        ended = service.as_mut() => ended,

        () = too_late => {
            warn!(?limit, "stopping took longer than its limit and was cut short");
            // Leaked, because destructors may wait: a Kafka client for a broker that is gone, for
            // one. The process ends now and takes everything with it.
            std::mem::forget(service);
            anyhow::bail!("stopping was cut short after {limit:?}")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::{Instant, timeout};

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);
    const PLAN: PublicShutdown = PublicShutdown { delay: SHORT, timeout: Duration::from_secs(25) };

    #[tokio::test]
    async fn the_service_is_not_ready_at_once_and_stops_serving_after_the_delay() {
        let (readiness, shutdown, stop) =
            (Readiness::new(), CancellationToken::new(), CancellationToken::new());
        let mut stopping = Box::pin(not_ready_then_stop(&shutdown, PLAN, &readiness, &stop));
        assert!(timeout(SHORT * 2, stopping.as_mut()).await.is_err(), "nobody asked it to stop");
        assert_eq!(readiness.status(), Ok(()));
        let asked = Instant::now();

        shutdown.cancel();
        assert!(timeout(Duration::ZERO, stopping.as_mut()).await.is_err());
        assert!(readiness.status().is_err() && !stop.is_cancelled());

        stopping.await;
        assert!(stop.is_cancelled());
        assert!(asked.elapsed() >= PLAN.delay);
    }

    #[tokio::test]
    async fn a_service_that_does_not_end_is_cut_short_at_the_limit_after_the_signal() {
        let shutdown = CancellationToken::new();
        let mut service = Box::pin(within(&shutdown, SHORT, pending()));
        assert!(timeout(SHORT * 2, service.as_mut()).await.is_err(), "nobody asked it to stop");
        let asked = Instant::now();

        shutdown.cancel();

        service.await.expect_err("cut short");
        assert!(asked.elapsed() >= SHORT);
    }

    #[tokio::test]
    async fn a_service_that_ends_in_time_has_the_last_word() {
        let shutdown = CancellationToken::new();
        shutdown.cancel();

        within(&shutdown, PLAN.timeout, async { Ok(()) }).await.expect("in time");
    }

    #[test]
    fn delay_answers_and_the_rest_share_one_limit() {
        let plan =
            PublicShutdown { delay: Duration::from_secs(5), timeout: Duration::from_secs(25) };

        assert_eq!(plan.grace(Duration::from_secs(2)), Duration::from_secs(18));
        assert_eq!(plan.grace(Duration::from_mins(1)), Duration::ZERO);
    }
}
