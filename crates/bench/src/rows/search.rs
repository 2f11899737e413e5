//! The highest rate that is kept up, found by halving what is between one that is and one that is not.

/// How far the highest that is kept up may lie below the lowest that is not.
const CLOSE: f64 = 1.05;

/// Of the lowest that was too much, as long as nothing was kept up.
const FIRST: f64 = 0.75;

/// By how much the bound is raised that was only supposed, and is kept up.
const RAISED: f64 = 1.2;

/// Below this share of what it began with there is nothing to be found.
const LEAST: f64 = 0.02;

/// What is known of the highest rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bracket {
    began_with: f64,
    kept: Option<f64>,
    too_much: f64,
    /// Whether the bound was tried, or is only supposed.
    was_tried: bool,
}

impl Bracket {
    /// Begins below a rate that is supposed to be too much.
    pub(crate) fn below(too_much: f64) -> Self {
        Self { began_with: too_much, kept: None, too_much, was_tried: false }
    }

    /// The next rate to try; `None` once it is known well enough.
    pub(crate) fn next(&self) -> Option<f64> {
        match self.kept {
            // Raised: more than was supposed is kept up.
            Some(kept) if !self.was_tried && kept >= self.began_with => Some(self.too_much),
            Some(kept) if self.too_much / kept <= CLOSE => {
                Some(self.too_much).filter(|_| !self.was_tried)
            }
            Some(kept) => Some((kept * self.too_much).sqrt()),
            None => Some(self.too_much * FIRST).filter(|it| *it >= self.began_with * LEAST),
        }
    }

    /// Says whether a rate was kept up.
    pub(crate) fn tell(&mut self, rate: f64, was_kept_up: bool) {
        if was_kept_up {
            self.kept = Some(rate);
            if rate >= self.too_much {
                self.too_much = rate * RAISED;
            }
        } else {
            self.too_much = rate;
            self.was_tried = true;
        }
    }

    /// The highest rate that was kept up, if any was.
    pub(crate) fn kept(&self) -> Option<f64> {
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(highest: f64) -> (Option<f64>, usize) {
        let mut bracket = Bracket::below(20_000.0);
        let mut tries = 0;
        while let Some(rate) = bracket.next() {
            bracket.tell(rate, rate <= highest);
            tries += 1;
        }
        (bracket.kept(), tries)
    }

    #[test]
    fn what_is_found_is_at_most_a_twentieth_too_low() {
        for highest in [900.0, 4_000.0, 9_999.0, 14_999.0, 19_999.0, 45_000.0] {
            let (kept, tries) = find(highest);
            let kept = kept.expect("some rate is kept up");
            assert!(kept <= highest && kept * CLOSE >= highest, "{kept} of {highest}");
            assert!(tries <= 15, "{tries} tries for {highest}");
        }
    }

    #[test]
    fn where_no_rate_is_kept_up_there_is_an_end() {
        assert_eq!(find(0.0).0, None);
    }
}
