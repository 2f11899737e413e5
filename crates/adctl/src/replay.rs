//! `adctl replay`: posts a file of impressions and clicks to the ingest service.

use std::{num::NonZeroUsize, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::bail;
use clap::Args;
use reqwest::Url;
use service_kit::settings::Value as _;
use tokio_util::sync::CancellationToken;

use crate::{INTERRUPTED, output};

mod expected;
mod pace;
mod post;
mod rows;
mod run;
mod summary;

pub use expected::{Counts, expected_counts};

/// Post a file of impressions and clicks to the ingest service
///
/// The file is a CSV with the columns `timestamp,ad_id,ip,click` (others are ignored). Every row is
/// posted as an impression, and as a click too where `click` is 1. What makes an event the same
/// event is the row's ad, address and timestamp, so replaying a file again changes nothing. The
/// ingest service takes the row's address only from a machine in its `TRUSTED_SENDERS`, as this one
/// is in the local stack.
///
/// The whole file is checked before anything is posted. Answers 408, 429, 502, 503 and 504, and no
/// answer, are tried again. The exit code is 0 only where every event was accepted, and 130 where
/// Ctrl-C ended it early; the summary is printed in any case.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    adctl replay data/open-bandit-bts-men.csv\n  \
    adctl replay traffic.csv --ingest http://10.0.0.5:8081 --rate 500 --concurrency 64\n  \
    adctl replay --dry-run data/open-bandit-bts-men.csv --json")]
pub(crate) struct Replay {
    /// What to post
    file: PathBuf,
    /// Where the ingest service is
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8081", value_parser = base_url)]
    ingest: String,
    /// Events each second at most, retries not counted [default: as fast as they are taken]
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,
    /// Requests under way at once
    #[arg(long, value_name = "N", default_value = "32", value_parser = concurrency)]
    concurrency: NonZeroUsize,
    /// Give up when no event was settled for this long
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = Duration::parse)]
    give_up_after: Duration,
    /// Post nothing; print what a correct pipeline counts for each ad of the file
    #[arg(long)]
    dry_run: bool,
    /// Print the summary, or what --dry-run says, as JSON
    #[arg(long)]
    json: bool,
}

/// How a replay came to its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ending {
    Complete,
    Interrupted,
    GaveUp,
}

impl Replay {
    pub(crate) async fn run(self, stop: CancellationToken) -> anyhow::Result<ExitCode> {
        let Some(counts) = self.count(&stop).await? else {
            return Ok(ExitCode::from(INTERRUPTED));
        };
        if self.dry_run {
            output::result(expected::render(&counts, self.json)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        if counts.is_empty() {
            bail!("{} has no rows", self.file.display());
        }

        let (ending, summary) = run::run(&self, &counts, &stop).await?;
        output::result(if self.json { summary.json()? } else { summary.to_string() })?;
        match ending {
            Ending::Complete => {}
            Ending::Interrupted => output::note("stopped early; replaying the file again is safe"),
            Ending::GaveUp => output::note(format_args!(
                "gave up: {} settled nothing for {:?}; replaying the file again is safe",
                self.ingest, self.give_up_after
            )),
        }
        Ok(match ending {
            Ending::Complete if summary.all_accepted() => ExitCode::SUCCESS,
            Ending::Complete | Ending::GaveUp => ExitCode::FAILURE,
            Ending::Interrupted => ExitCode::from(INTERRUPTED),
        })
    }

    /// Reads the file once, which checks every line. `None` where that was interrupted.
    async fn count(&self, stop: &CancellationToken) -> anyhow::Result<Option<expected::PerAd>> {
        let (path, stop) = (self.file.clone(), stop.clone());
        tokio::task::spawn_blocking(move || {
            let unless_stopped = || !stop.is_cancelled();
            expected::count_while(&path, unless_stopped)
        })
        .await?
    }
}

/// Reads the address of a service, whose routes are put behind it.
fn base_url(text: &str) -> Result<String, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    // It is printed, so it may hold no secret.
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the address holds no user and password".to_owned());
    }
    match url.scheme() {
        "http" => Ok(text.trim_end_matches('/').to_owned()),
        "https" => {
            Err("adctl speaks no TLS: use a plain http:// address, for example of `kubectl \
                        port-forward`"
                .to_owned())
        }
        _ => Err("the address begins with http://".to_owned()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|it| (0.001..=1e6).contains(it));
    rate.ok_or_else(|| "a rate is a number of events each second, from 0.001 to 1000000".to_owned())
}

fn concurrency(text: &str) -> Result<NonZeroUsize, String> {
    let number = text.parse().ok().filter(|it: &NonZeroUsize| it.get() <= 1000);
    number.ok_or_else(|| "a whole number from 1 to 1000".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_service_is_plain_http_without_a_secret() {
        assert_eq!(base_url("http://10.0.0.5:8081/").as_deref(), Ok("http://10.0.0.5:8081"));
        for bad in ["10.0.0.5:8081", "https://example.com", "http://", "http://u:p@10.0.0.5"] {
            assert!(base_url(bad).is_err(), "{bad}");
        }
    }
}
