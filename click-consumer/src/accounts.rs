//! Looks all the time whether everything is accounted for, beside the loop that counts.

use std::time::{Duration, Instant};

use click_store::{Pool, StoreError, audit, within};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::{assignment::Assignment, metrics::Metrics, partition::TopicNames};

/// How long there is between two looks.
const AT_LEAST: Duration = Duration::from_secs(2);
const AT_MOST: Duration = Duration::from_mins(5);

/// Of the time, one part in so many may be spent on looking: it reads every total there is.
const ONE_IN: u32 = 50;

/// How long a look may take. What it has asked for ends by itself, before the next one.
const LIMIT: Duration = Duration::from_secs(20);

/// Compares position, ledger and totals of this consumer's partitions.
pub(crate) struct Accounts {
    pub(crate) pool: Pool,
    pub(crate) names: TopicNames,
    pub(crate) assignment: Assignment,
    pub(crate) metrics: Metrics,
}

impl Accounts {
    /// Looks until `shutdown` is cancelled.
    ///
    /// # Cancellation
    ///
    /// Harmless at any point: it only reads.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.look_again_and_again()).await;
    }

    async fn look_again_and_again(&self) {
        loop {
            let begun = Instant::now();
            if let Err(error) = self.look().await {
                warn!(%error, "it is not known whether everything is accounted for");
            }
            sleep((begun.elapsed() * ONE_IN).clamp(AT_LEAST, AT_MOST)).await;
        }
    }

    async fn look(&self) -> Result<(), StoreError> {
        let ours = self.assignment.positions();
        let ours: Vec<_> = ours.keys().map(|&it| self.names.at(it)).collect();
        let unaccounted = within(LIMIT, audit::unaccounted(&self.pool, &ours)).await?;
        // Once each time it changes: what is missing stays missing until somebody looks.
        if self.metrics.unaccounted(unaccounted) != unaccounted && unaccounted != 0 {
            error!(unaccounted, "position, ledger and totals differ: run `adctl audit`");
        }
        Ok(())
    }
}
