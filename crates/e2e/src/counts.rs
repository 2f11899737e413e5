//! How many events each ad has, from whichever side it was asked.

use std::collections::BTreeMap;

use click_store::totals::Snapshot;
use proto_schemas::Kind;
use serde_json::Value;

/// Events of one ad.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct AdCounts {
    pub clicks: u64,
    pub impressions: u64,
}

/// Events of every registered ad.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counts(pub BTreeMap<u64, AdCounts>);

impl Counts {
    /// No event for any of the sample's ads.
    pub fn zero() -> Self {
        Self((1..=crate::sample::ADS).map(|ad| (ad, AdCounts::default())).collect())
    }

    /// The same with more events of one ad.
    #[must_use]
    pub fn with(mut self, kind: Kind, ad: u64, events: u64) -> Self {
        self.add(kind, ad, events);
        self
    }

    pub fn add(&mut self, kind: Kind, ad: u64, events: u64) {
        let counts = self.0.entry(ad).or_default();
        match kind {
            Kind::Click => counts.clicks += events,
            Kind::Impression => counts.impressions += events,
        }
    }

    /// Events of one kind over all ads.
    pub fn total(&self, kind: Kind) -> u64 {
        let of = |it: &AdCounts| match kind {
            Kind::Click => it.clicks,
            Kind::Impression => it.impressions,
        };
        self.0.values().map(of).sum()
    }

    /// Tells whether no number is higher than in `other`.
    pub fn at_most(&self, other: &Self) -> bool {
        self.0.iter().all(|(ad, it)| {
            other.0.get(ad).is_some_and(|other| {
                it.clicks <= other.clicks && it.impressions <= other.impressions
            })
        })
    }

    pub(crate) fn of_snapshot(snapshot: &Snapshot) -> Self {
        let counts = snapshot.ads.iter().map(|(ad, it)| {
            (ad.get(), AdCounts { clicks: it.clicks, impressions: it.impressions })
        });
        Self(counts.collect())
    }

    /// Reads the body of `GET /ads/analytics`, and checks that each `ctr` fits its counts.
    pub fn of_analytics(body: &Value) -> Self {
        let ads = body.as_array().expect("a list of ads");
        let counts: BTreeMap<_, _> = ads.iter().map(of_ad).collect();
        assert_eq!(counts.len(), ads.len(), "each ad is listed once");
        Self(counts)
    }
}

fn of_ad(ad: &Value) -> (u64, AdCounts) {
    let number = |field: &str| ad[field].as_u64().expect(field);
    let counts = AdCounts { clicks: number("click_count"), impressions: number("impressions") };

    let ctr = ad["ctr"].as_f64().expect("a percentage");
    #[expect(clippy::cast_precision_loss, reason = "tests count far below 2^52")]
    let exact = match counts.impressions {
        0 => 0.0,
        shown => counts.clicks as f64 / shown as f64 * 100.0,
    };
    assert!((ctr - exact).abs() <= 0.005_001, "ctr {ctr} of {counts:?}");
    (number("ad_id"), counts)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_count_that_goes_down_is_noticed_in_one_ad_alone() {
        let before = Counts::zero().with(Kind::Click, 1, 2).with(Kind::Impression, 2, 5);
        let lower = Counts::zero().with(Kind::Click, 1, 9).with(Kind::Impression, 2, 4);

        assert!(before.at_most(&before) && Counts::zero().at_most(&before));
        assert!(!before.at_most(&lower));
        assert!(!before.at_most(&Counts::default()), "an ad that is gone");
    }

    #[test]
    #[should_panic(expected = "ctr 21 of")]
    fn a_ctr_that_does_not_fit_its_counts_is_noticed() {
        let ad = json!({ "ad_id": 1, "click_count": 1, "impressions": 5, "ctr": 21 });

        drop(Counts::of_analytics(&json!([ad])));
    }
}
