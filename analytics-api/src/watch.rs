//! Asks Postgres each second for what must be known before Redis may be believed, and tells
//! `/readyz`.

use std::{sync::Arc, time::Duration};

use click_store::StoreError;
use service_kit::{dependencies::Dependency, readiness::Check};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::reader::Reader;

/// How long a reader may go on with an epoch that is over, while Postgres answers.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Keeps the reader's view and `check` up to date until `shutdown` is cancelled.
///
/// Not ready until Postgres has answered once, because Redis alone means nothing to a reader that
/// does not know the epoch. After that, not ready only while neither store can answer: losing one
/// of them costs speed at most, and taking the service out for it would cost the answers too.
pub(crate) async fn watch(
    reader: Arc<Reader>,
    postgres: Dependency,
    check: Check,
    shutdown: CancellationToken,
) {
    let mut ticks = interval(ASK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut answering = None;

    loop {
        // Both arms are cancel safe: they only read.
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            (polled, redis) = ask_at_next_tick(&mut ticks, &reader) => {
                log_change(&mut answering, &polled);
                postgres.answered(polled.is_ok());
                match polled {
                    Ok(()) => check.ok(),
                    Err(_) if redis => check.ok(),
                    Err(error) => check.fail(format!("neither store can answer: {error}")),
                }
            }
        }
    }
}

/// Asks Postgres, and where it does not answer, Redis too.
async fn ask_at_next_tick(ticks: &mut Interval, reader: &Reader) -> (Result<(), StoreError>, bool) {
    ticks.tick().await;
    let polled = reader.poll_view().await;
    let redis = polled.is_err() && reader.redis_can_answer().await;
    (polled, redis)
}

fn log_change(answering: &mut Option<bool>, polled: &Result<(), StoreError>) {
    let now = polled.is_ok();
    if answering.replace(now) == Some(now) {
        return;
    }
    match polled {
        Ok(()) => info!("postgres answers"),
        Err(error) => warn!(%error, "postgres does not answer, going on with what is known"),
    }
}
