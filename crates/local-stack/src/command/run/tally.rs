//! Impressions and clicks of each ad: what a file says, and what the analytics answer.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

/// What was counted for one ad.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Counts {
    pub(super) impressions: u64,
    pub(super) clicks: u64,
}

/// Counts of every ad, by its id.
pub(super) type Tally = BTreeMap<u64, Counts>;

/// One answer of `GET /ads/analytics`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Analytics {
    pub(super) counts: Tally,
    /// The percentages as they were printed.
    pub(super) ctr: BTreeMap<u64, String>,
    /// `redis` or `postgres`.
    pub(super) source: String,
}

/// What `adctl replay --dry-run --json` prints.
pub(super) fn of_file(json: &[u8]) -> anyhow::Result<Tally> {
    #[derive(Deserialize)]
    struct File {
        ads: Vec<Row>,
    }
    #[derive(Deserialize)]
    struct Row {
        ad_id: u64,
        impressions: u64,
        clicks: u64,
    }

    let file: File = serde_json::from_slice(json).context("adctl printed something else")?;
    let counts = |it: &Row| Counts { impressions: it.impressions, clicks: it.clicks };
    Ok(file.ads.iter().map(|it| (it.ad_id, counts(it))).collect())
}

/// Asks the analytics service.
pub(super) async fn analytics(base_url: &str) -> anyhow::Result<Analytics> {
    #[derive(Deserialize)]
    struct Row {
        ad_id: u64,
        click_count: u64,
        impressions: u64,
        ctr: serde_json::Number,
    }
    const LIMIT: Duration = Duration::from_secs(10);

    let client = reqwest::Client::builder().no_proxy().timeout(LIMIT).build()?;
    let answer = client.get(format!("{base_url}/ads/analytics")).send().await?;
    let source = answer.headers().get("x-data-source");
    let source = source.and_then(|it| it.to_str().ok()).unwrap_or("unknown").to_owned();
    let (status, body) = (answer.status(), answer.bytes().await?);
    ensure!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
    let rows: Vec<Row> = serde_json::from_slice(&body).context("not what was expected")?;

    let counts = |it: &Row| Counts { impressions: it.impressions, clicks: it.click_count };
    Ok(Analytics {
        counts: rows.iter().map(|it| (it.ad_id, counts(it))).collect(),
        ctr: rows.iter().map(|it| (it.ad_id, it.ctr.to_string())).collect(),
        source,
    })
}

/// What has come to each ad between two answers. Counts never go down.
pub(super) fn added(before: &Tally, after: &Tally) -> Tally {
    let zero = Counts::default();
    after
        .iter()
        .map(|(ad, now)| {
            let then = before.get(ad).unwrap_or(&zero);
            let more = Counts {
                impressions: now.impressions.saturating_sub(then.impressions),
                clicks: now.clicks.saturating_sub(then.clicks),
            };
            (*ad, more)
        })
        .collect()
}

pub(super) fn total(tally: &Tally) -> Counts {
    tally.values().fold(Counts::default(), |sum, it| Counts {
        impressions: sum.impressions + it.impressions,
        clicks: sum.clicks + it.clicks,
    })
}
