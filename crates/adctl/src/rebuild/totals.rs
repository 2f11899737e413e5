//! `adctl rebuild totals`: makes totals and ledger say what the rows say.

use std::{process::ExitCode, time::Duration};

use clap::Args;
use click_store::rebuild::{self, Rebuilt};
use service_kit::settings::Value as _;

use crate::{connections::PostgresAt, output};

/// How many corrections are printed.
const SHOWN: usize = 20;

/// Correct the totals and the ledger from the rows
///
/// Counts every row there is (as long as `adctl audit` takes), and corrects the totals of each ad, and
/// `stored` in the ledger, where they differ: all in one transaction, and safe while consumers run.
/// Counting waits for milliseconds, at the end. Where something was corrected, the epoch is
/// renewed too, so that the consumers write Redis anew.
///
/// It cannot bring back a row that was deleted: `adctl audit` goes on to show the offset that is then
/// in no ledger.
#[derive(Args, Debug)]
pub(crate) struct RebuildTotals {
    /// How long counting the rows may take
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = Duration::parse)]
    time_limit: Duration,
    #[command(flatten)]
    postgres: PostgresAt,
}

impl RebuildTotals {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let rebuilt = rebuild::totals(&self.postgres.pool()?, self.time_limit)
            .await
            .map_err(|error| self.postgres.explain(error))?;
        output::result(render(&rebuilt))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn render(rebuilt: &Rebuilt) -> String {
    let Some(epoch) = rebuilt.epoch else {
        return "nothing to correct: totals and ledger are what the rows say".to_owned();
    };
    let totals =
        rebuilt.totals.iter().map(|it| format!("{}: ad {}, total {:+}", it.at, it.ad, it.by));
    let ledgers = rebuilt.ledgers.iter().map(|(at, by)| format!("{at}: ledger, stored {by:+}"));
    let mut lines: Vec<String> = totals.chain(ledgers).take(SHOWN).collect();
    let all = rebuilt.totals.len() + rebuilt.ledgers.len();
    if all > SHOWN {
        lines.push(format!("and {} more", all - SHOWN));
    }
    lines.push(format!("{all} corrected; the epoch is now {epoch}"));
    lines.join("\n")
}
