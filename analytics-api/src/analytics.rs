//! The body of `GET /ads/analytics`.

use axum::body::Bytes;
use click_store::totals::Snapshot;
use serde::Serialize;
use utoipa::ToSchema;

use crate::ctr::Ctr;

/// How one ad is doing.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AdAnalytics {
    /// The ad.
    #[schema(minimum = 1, maximum = 9_007_199_254_740_991_u64, example = 1)]
    ad_id: u64,
    /// Its clicks, each counted once.
    #[schema(example = 50)]
    click_count: u64,
    /// Its impressions, each counted once.
    #[schema(example = 250)]
    impressions: u64,
    /// Clicks ÷ impressions in percent, with two decimals at most; 0 without impressions.
    #[schema(value_type = f64, minimum = 0, example = 20)]
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
