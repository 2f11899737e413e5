//! The project's sample file, counted here by the simplest code there is.

use std::{collections::HashSet, path::PathBuf};

use proto_schemas::Kind;

use crate::counts::Counts;

/// The sample's ads are 1 to this.
pub(crate) const ADS: u64 = 34;

/// What the sample file says.
#[derive(Clone, Debug)]
pub struct Sample {
    pub path: PathBuf,
    pub counts: Counts,
    /// Impressions and clicks together.
    pub events: i64,
}

impl Sample {
    /// Reads the file.
    pub fn read() -> Self {
        let path = local_stack::repository().join("data/open-bandit-bts-men.csv");
        let text = std::fs::read_to_string(&path).expect("the sample file");
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("timestamp,ad_id,position,ip,click"));

        let (mut counts, mut events, mut seen) = (Counts::zero(), 0, HashSet::new());
        for line in lines {
            let fields: Vec<_> = line.split(',').collect();
            let [timestamp, ad, _position, ip, click] = fields[..] else {
                unreachable!("five columns: {line}")
            };
            assert!(seen.insert((timestamp, ad, ip)), "a duplicate in the sample: {line}");
            let ad = ad.parse().expect("an ad id");
            counts.add(Kind::Impression, ad, 1);
            events += 1;
            if click == "1" {
                counts.add(Kind::Click, ad, 1);
                events += 1;
            }
        }
        Self { path, counts, events }
    }
}

/// The sample's ads, as `adctl ads add` takes them.
pub(crate) fn ads_file() -> PathBuf {
    local_stack::repository().join("data/ads.csv")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_what_its_readme_says() {
        let sample = Sample::read();

        assert_eq!(sample.counts.total(Kind::Impression), 10_000);
        assert_eq!(sample.counts.total(Kind::Click), 69);
        assert_eq!(sample.counts.0.len(), 34);
    }
}
