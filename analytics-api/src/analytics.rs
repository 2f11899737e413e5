//! The body of `GET /ads/analytics`.

use axum::body::Bytes;
use click_store::totals::Snapshot;
use serde::Serialize;

use crate::ctr::Ctr;

/// How one ad is doing.
#[derive(Debug, Serialize)]
struct AdAnalytics {
    ad_id: u64,
    click_count: u64,
    impressions: u64,
    ctr: Ctr,
}

/// Renders every ad, by id. The same totals give the same bytes, whichever store they came from.
pub(crate) fn render(snapshot: &Snapshot) -> Bytes {
    let ads: Vec<_> = snapshot
        .ads
        .iter()
        .map(|(ad, totals)| AdAnalytics {
            ad_id: ad.get(),
            click_count: totals.clicks,
            impressions: totals.impressions,
            ctr: Ctr::of(totals.clicks, totals.impressions),
        })
        .collect();
    crate::answer::to_json(&ads)
}
