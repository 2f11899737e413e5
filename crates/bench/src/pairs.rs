//! Two things measured in turn, and how they compare.

use anyhow::ensure;

/// Measurements of A and B, taken in turn: whatever else the machine does hits both.
#[derive(Clone, Debug)]
pub(crate) struct Pairs(Vec<(f64, f64)>);

/// How A compares to B, over all pairs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Pairs {
    /// Measures A and B, `count` times.
    pub(crate) async fn measure(
        count: usize,
        mut a: impl AsyncFnMut() -> anyhow::Result<f64>,
        mut b: impl AsyncFnMut() -> anyhow::Result<f64>,
    ) -> anyhow::Result<Self> {
        let mut pairs = Vec::new();
        for _ in 0..count {
            pairs.push((a().await?, b().await?));
        }
        Self::of(pairs)
    }

    /// # Errors
    ///
    /// Where there is none, or something in it that nothing can be compared with.
    pub(crate) fn of(pairs: Vec<(f64, f64)>) -> anyhow::Result<Self> {
        ensure!(!pairs.is_empty(), "nothing was measured");
        let sound = |it: f64| it.is_finite() && it > 0.0;
        ensure!(pairs.iter().all(|&(a, b)| sound(a) && sound(b)), "not to be compared: {pairs:?}");
        Ok(Self(pairs))
    }

    pub(crate) fn ratio(&self) -> Spread {
        Spread::of(self.0.iter().map(|(a, b)| a / b))
    }

    /// By how much A is more than B.
    pub(crate) fn difference(&self) -> Spread {
        Spread::of(self.0.iter().map(|(a, b)| a - b))
    }

    /// The medians of A and of B.
    pub(crate) fn medians(&self) -> (f64, f64) {
        let of = |values: Vec<f64>| median(&values);
        (of(sorted(self.0.iter().map(|it| it.0))), of(sorted(self.0.iter().map(|it| it.1))))
    }
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let values = sorted(values);
        Self { median: median(&values), least: values[0], most: values[values.len() - 1] }
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_that_of_each_pair_and_not_of_the_medians() {
        let pairs = Pairs::of(vec![(1.0, 1.0), (8.0, 2.0), (6.0, 3.0)]).expect("sound");

        let Spread { median, least, most } = pairs.ratio();
        assert_eq!(format!("{median} {least} {most}"), "2 1 4");
        assert_eq!(format!("{:?}", pairs.medians()), "(6.0, 2.0)");
    }

    #[test]
    fn between_two_in_the_middle_the_median_is_their_mean() {
        let pairs = Pairs::of(vec![(4.0, 1.0), (2.0, 1.0)]).expect("sound");

        assert!((pairs.ratio().median - 3.0).abs() < f64::EPSILON);
    }

    #[test]
    fn what_cannot_be_compared_is_an_error() {
        assert!(Pairs::of(Vec::new()).is_err());
        assert!(Pairs::of(vec![(1.0, 0.0)]).is_err());
    }
}
