//! The click-through rate, in integers only.

use std::fmt;

use serde::{Serialize, Serializer};

/// Clicks as a percentage of impressions, in hundredths of a percent, rounded half up.
///
/// More than 100 % is possible: a player may post a click whose impression was lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Ctr {
    /// Wide enough for `u64::MAX` clicks on one impression.
    hundredths: u128,
}

impl Ctr {
    /// Zero where there are no impressions.
    pub(crate) fn of(clicks: u64, impressions: u64) -> Self {
        let (clicks, impressions) = (u128::from(clicks), u128::from(impressions));
        // Half up: floor(2·x + 1) / 2, on the whole fraction.
        let hundredths = (clicks * 20_000 + impressions).checked_div(impressions * 2).unwrap_or(0);
        Self { hundredths }
    }
}

/// At most two decimals, and neither a point nor a zero that says nothing: `20`, `12.5`, `0.07`.
impl fmt::Display for Ctr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.hundredths / 100, self.hundredths % 100);
        match (rest, rest % 10) {
            (0, _) => write!(out, "{whole}"),
            (_, 0) => write!(out, "{whole}.{}", rest / 10),
            _ => write!(out, "{whole}.{rest:02}"),
        }
    }
}

/// A JSON number that reads as [`Ctr`]'s own text does.
impl Serialize for Ctr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.hundredths.is_multiple_of(100) {
            return serializer.serialize_u128(self.hundredths / 100);
        }
        // The double nearest to a decimal of up to 15 digits is printed as that decimal again.
        let number: f64 = self.to_string().parse().map_err(serde::ser::Error::custom)?;
        serializer.serialize_f64(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(clicks: u64, impressions: u64) -> String {
        serde_json::to_string(&Ctr::of(clicks, impressions)).expect("a number")
    }

    #[test]
    fn a_whole_percentage_has_no_point() {
        assert_eq!(json(50, 250), "20");
        assert_eq!(json(1, 1), "100");
        assert_eq!(json(0, 250), "0");
    }

    #[test]
    fn there_are_two_decimals_at_most_and_no_trailing_zero() {
        assert_eq!(json(1, 8), "12.5");
        assert_eq!(json(1, 3), "33.33");
        assert_eq!(json(2, 3), "66.67");
        assert_eq!(json(7, 10_000), "0.07");
        assert_eq!(json(3, 1000), "0.3");
    }

    #[test]
    fn halves_are_rounded_up() {
        assert_eq!(json(1, 20_000), "0.01");
        assert_eq!(json(1, 20_001), "0");
        assert_eq!(json(3, 20_000), "0.02");
        // 99.995 % and 0.125 %.
        assert_eq!(json(19_999, 20_000), "100");
        assert_eq!(json(1, 800), "0.13");
    }

    #[test]
    fn it_is_zero_where_there_are_no_impressions() {
        assert_eq!(json(0, 0), "0");
        assert_eq!(json(7, 0), "0");
    }

    #[test]
    fn more_clicks_than_impressions_are_more_than_a_hundred_percent() {
        assert_eq!(json(5, 2), "250");
        assert_eq!(json(4, 3), "133.33");
        assert_eq!(json(u64::MAX, 1), "1844674407370955161500");
    }

    #[test]
    fn the_number_always_reads_as_its_own_text() {
        for clicks in 0..400 {
            for impressions in 1..400 {
                assert_eq!(json(clicks, impressions), Ctr::of(clicks, impressions).to_string());
            }
        }
        for hundredths in [1, 99, 101, 123_456_789_012_345] {
            let ctr = Ctr { hundredths };
            assert_eq!(serde_json::to_string(&ctr).expect("a number"), ctr.to_string());
        }
    }
}
