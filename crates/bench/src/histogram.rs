//! A histogram as a service shows it on `/metrics`.

use std::time::Duration;

/// Upper bounds in seconds, and how many were at most that.
#[derive(Debug)]
pub(crate) struct Buckets(Vec<(f64, f64)>);

impl Buckets {
    /// Reads the buckets of the histogram `name`, all its label sets added up.
    pub(crate) fn read(metrics: &str, name: &str) -> Self {
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for line in metrics.lines() {
            let Some((bound, count)) = bucket(line, name) else { continue };
            match buckets.iter_mut().find(|it| it.0.total_cmp(&bound).is_eq()) {
                Some(known) => known.1 += count,
                None => buckets.push((bound, count)),
            }
        }
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        Self(buckets)
    }

    /// What was measured since `before`, which is the same histogram as it was then.
    #[must_use]
    pub(crate) fn since(&self, before: &Self) -> Self {
        let was = |bound: f64| before.0.iter().find(|it| it.0.total_cmp(&bound).is_eq());
        let since =
            |&(bound, count): &(f64, f64)| (bound, count - was(bound).map_or(0.0, |it| it.1));
        Self(self.0.iter().map(since).collect())
    }

    /// How many were measured.
    pub(crate) fn count(&self) -> f64 {
        self.0.last().map_or(0.0, |it| it.1)
    }

    /// The bound below which this share of all lies; `None` where that is infinity, or nothing was
    /// measured.
    pub(crate) fn quantile(&self, share: f64) -> Option<Duration> {
        let all = self.0.last()?.1;
        let bound = self.0.iter().find(|it| it.1 >= share * all)?.0;
        (all > 0.0 && bound.is_finite()).then(|| Duration::from_secs_f64(bound))
    }
}

fn bucket(line: &str, name: &str) -> Option<(f64, f64)> {
    let labels = line.strip_prefix(name)?.strip_prefix("_bucket{")?;
    let (_, bound) = labels.split_once("le=\"")?;
    let (bound, rest) = bound.split_once('"')?;
    let (_, count) = rest.split_once("} ")?;
    // An exemplar may stand behind the count.
    let count = count.split(' ').next()?;
    let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
    Some((bound, count.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = "\
delay_seconds_sum{kind=\"click\"} 3.0
delay_seconds_bucket{le=\"0.5\",kind=\"click\"} 90
delay_seconds_bucket{le=\"1.0\",kind=\"click\"} 99
delay_seconds_bucket{le=\"+Inf\",kind=\"click\"} 100
delay_seconds_bucket{le=\"0.5\",kind=\"impression\"} 100
delay_seconds_bucket{le=\"1.0\",kind=\"impression\"} 100
delay_seconds_bucket{le=\"+Inf\",kind=\"impression\"} 100
";

    #[test]
    fn a_quantile_is_the_bound_below_which_so_many_lie() {
        let buckets = Buckets::read(METRICS, "delay_seconds");

        assert_eq!(buckets.quantile(0.95), Some(Duration::from_millis(500)));
        assert_eq!(buckets.quantile(0.99), Some(Duration::from_secs(1)));
        assert_eq!(buckets.quantile(1.0), None);
    }

    #[test]
    fn what_was_measured_before_does_not_count() {
        let before = Buckets::read(METRICS, "delay_seconds");
        let slow = "delay_seconds_bucket{le=\"1.0\",kind=\"click\"} 109";
        let later = METRICS
            .replace("delay_seconds_bucket{le=\"1.0\",kind=\"click\"} 99", slow)
            .replace("le=\"+Inf\",kind=\"click\"} 100", "le=\"+Inf\",kind=\"click\"} 110");

        let since = Buckets::read(&later, "delay_seconds").since(&before);

        assert!((since.count() - 10.0).abs() < f64::EPSILON, "{since:?}");
        assert_eq!(since.quantile(0.1), Some(Duration::from_secs(1)));
    }

    #[test]
    fn nothing_measured_is_no_quantile() {
        assert_eq!(Buckets::read(METRICS, "other").quantile(0.5), None);
    }
}
