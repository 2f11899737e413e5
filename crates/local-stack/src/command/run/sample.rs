//! The ads and the sample: loaded, replayed, counted, compared.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use comfy_table::{CellAlignment, Table, presets};
use local_stack::{children, repository};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use super::lag;
use super::outcome::Outcome;
use super::services::Plans;
use super::tally::{self, Analytics, Tally};
use crate::command::say;
use crate::command::stores::Addresses;

/// What is needed to replay a file into the running pipeline.
#[derive(Debug)]
pub(super) struct Replay<'a> {
    plans: &'a Plans,
    addresses: &'a Addresses,
    topic_prefix: &'a str,
}

/// The file that is replayed unless another is named.
pub(super) fn default_file() -> PathBuf {
    repository().join("data/open-bandit-bts-men.csv")
}

impl<'a> Replay<'a> {
    pub(super) fn new(plans: &'a Plans, addresses: &'a Addresses, topic_prefix: &'a str) -> Self {
        Self { plans, addresses, topic_prefix }
    }

    /// Loads the ads, and replays `file` where there is one.
    pub(super) async fn run(&self, file: Option<&Path>) -> anyhow::Result<()> {
        let ads = repository().join("data/ads.csv");
        let added = self.adctl().args(["ads", "add", "--file"]).arg(ads).output().await;
        let added = added.context("adctl could not be run: is it built?")?;
        ensure!(
            added.status.success(),
            "the ads could not be loaded: {}",
            String::from_utf8_lossy(&added.stderr).trim()
        );

        let Some(file) = file else {
            // The reader learns of new ads each second.
            let now = self.settled(|now| !now.counts.is_empty()).await?;
            say::result(&table(&now));
            return Ok(());
        };
        self.replay(file).await
    }

    async fn replay(&self, file: &Path) -> anyhow::Result<()> {
        let expected = self.adctl().arg("replay").arg(file).args(["--dry-run", "--json"]).output();
        let expected = expected.await?;
        ensure!(
            expected.status.success(),
            "{} cannot be replayed: {}",
            file.display(),
            String::from_utf8_lossy(&expected.stderr).trim()
        );
        let expected = tally::of_file(&expected.stdout)?;

        // What an earlier run has left on Kafka is counted first, and not as part of this file.
        lag::gone(self.addresses, self.topic_prefix).await?;
        let before = self.settled(|_| false).await?;

        say::progress(&format!("replaying {}", file.display()));
        let ingest = self.plans.ingest_url();
        let mut replay = self.adctl();
        replay.arg("replay").arg(file).args(["--ingest", &ingest]);
        let status = replay.stdout(Stdio::inherit()).stderr(Stdio::inherit()).status().await?;
        if !status.success() {
            say::progress("the replay is not complete; comparing what was posted all the same");
        }

        say::progress("waiting until the counts settle");
        lag::gone(self.addresses, self.topic_prefix).await?;
        let after = self
            .settled(|now| tally::added(&before.counts, &now.counts) == with_zeros(&expected, now))
            .await?;

        let added = tally::added(&before.counts, &after.counts);
        say::result(&table(&after));
        say::result(&Outcome::of(&expected, &before.counts, &added).text(&expected));
        Ok(())
    }

    /// Asks the analytics until they are `enough`, or have not changed for a while, for half a minute at
    /// most.
    ///
    /// What is in Postgres is known to be complete by then; Redis follows within moments.
    async fn settled(&self, enough: impl Fn(&Analytics) -> bool) -> anyhow::Result<Analytics> {
        /// The body may be 250 ms old, and an owner repairs its projection every 2 s.
        const STILL: Duration = Duration::from_secs(3);
        const LIMIT: Duration = Duration::from_secs(30);
        const POLL: Duration = Duration::from_millis(100);

        let url = self.plans.analytics_url();
        let begun = Instant::now();
        let mut last = None;
        let mut since = begun;
        loop {
            match tally::analytics(&url).await {
                Ok(now) if enough(&now) => return Ok(now),
                Ok(now) if last.as_ref() == Some(&now) => {
                    if since.elapsed() > STILL {
                        return Ok(now);
                    }
                }
                // Other traffic never lets them stand still.
                Ok(now) if begun.elapsed() > LIMIT => return Ok(now),
                Ok(now) => (last, since) = (Some(now), Instant::now()),
                Err(error) if begun.elapsed() > LIMIT => {
                    return Err(error.context("the analytics do not answer"));
                }
                Err(_not_yet) => {}
            }
            sleep(POLL).await;
        }
    }

    /// The operator's tool, in a process group of its own: Ctrl-C is ours to handle.
    fn adctl(&self) -> Command {
        let binary = self.plans.binary("adctl");
        // This future runs on the main thread, whose end is the end of this process.
        let mut command = Command::from(children::bound_to_this_thread(binary.as_os_str()));
        command
            .envs(self.addresses.variables())
            .env("TOPIC_PREFIX", self.topic_prefix)
            .stdin(Stdio::null())
            .process_group(0)
            .kill_on_drop(true);
        command
    }
}

/// The file's counts, with zeros for every other ad, as the analytics have them.
fn with_zeros(file: &Tally, now: &Analytics) -> Tally {
    let mut all: Tally = now.counts.keys().map(|ad| (*ad, tally::Counts::default())).collect();
    all.extend(file);
    all
}

fn table(analytics: &Analytics) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["AD", "IMPRESSIONS", "CLICKS", "CTR %"]);
    for (ad, counts) in &analytics.counts {
        table.add_row([
            ad.to_string(),
            counts.impressions.to_string(),
            counts.clicks.to_string(),
            analytics.ctr.get(ad).cloned().unwrap_or_default(),
        ]);
    }
    let all = tally::total(&analytics.counts);
    let sum = [all.impressions, all.clicks].map(|it| it.to_string());
    table.add_row(["all", &sum[0], &sum[1], ""]);
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("\n{table}\n(from {})\n", analytics.source)
}
