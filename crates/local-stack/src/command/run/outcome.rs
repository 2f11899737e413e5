//! Whether what was counted is what the file says, in words.

use std::fmt::Write as _;

use super::tally::{Counts, Tally, total};

/// How what was added compares with the file.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// Everything in the file was new, and was counted once.
    Equal,
    /// Nothing was added, and as much as the file holds had been counted before.
    Unchanged,
    /// Some of it; or other traffic came in between.
    Different(Vec<Difference>),
}

/// An ad for which something else was added than the file says.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Difference {
    ad: u64,
    file: Counts,
    added: Counts,
}

impl Outcome {
    /// Compares the file with what was counted `before` the replay and what it `added`.
    pub(super) fn of(file: &Tally, before: &Tally, added: &Tally) -> Self {
        let zero = Counts::default();
        let ads = file.keys().chain(added.keys().filter(|ad| !file.contains_key(ad)));
        let differences: Vec<_> = ads
            .map(|ad| Difference {
                ad: *ad,
                file: *file.get(ad).unwrap_or(&zero),
                added: *added.get(ad).unwrap_or(&zero),
            })
            .filter(|it| it.file != it.added)
            .collect();

        if differences.is_empty() {
            Self::Equal
        } else if added.values().all(|it| *it == zero) && holds(before, file) {
            Self::Unchanged
        } else {
            Self::Different(differences)
        }
    }

    /// Says it, with the ads that differ.
    pub(super) fn text(&self, file: &Tally) -> String {
        let all = total(file);
        let all = format!("{} impressions and {} clicks", all.impressions, all.clicks);
        match self {
            Self::Equal => format!(
                "What was added for each ad equals what the file says: {all}, each counted once."
            ),
            Self::Unchanged => format!(
                "Replaying the file changed nothing: its {all} had all been counted before."
            ),
            Self::Different(differences) => explain(differences, &all),
        }
    }
}

/// Whether for every ad as much was counted as the file holds.
fn holds(counted: &Tally, file: &Tally) -> bool {
    file.iter().all(|(ad, file)| {
        counted
            .get(ad)
            .is_some_and(|it| it.impressions >= file.impressions && it.clicks >= file.clicks)
    })
}

fn explain(differences: &[Difference], all: &str) -> String {
    let more = differences
        .iter()
        .any(|it| it.added.impressions > it.file.impressions || it.added.clicks > it.file.clicks);
    let mut text = if more {
        format!(
            "What was added differs from the file ({all}), for some ads it is more: somebody else \
             posted meanwhile, or something is wrong."
        )
    } else {
        format!(
            "Less was added than the file holds ({all}): the rest had been counted before, was \
             refused (see above), is of an ad that is not registered (adctl ads list), or has ad, \
             address and millisecond in common with another row."
        )
    };
    for Difference { ad, file, added } in differences {
        // Writing to a String cannot fail.
        let _ok = write!(
            text,
            "\n  ad {ad}: the file says {}/{} impressions/clicks, added were {}/{}",
            file.impressions, file.clicks, added.impressions, added.clicks
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(rows: &[(u64, u64, u64)]) -> Tally {
        rows.iter().map(|&(ad, impressions, clicks)| (ad, Counts { impressions, clicks })).collect()
    }

    #[test]
    fn a_first_replay_adds_what_the_file_says() {
        let file = tally(&[(1, 10, 1), (2, 5, 0)]);

        let outcome =
            Outcome::of(&file, &Tally::new(), &tally(&[(1, 10, 1), (2, 5, 0), (3, 0, 0)]));

        assert_eq!(outcome, Outcome::Equal);
        assert!(outcome.text(&file).contains("15 impressions and 1 clicks"));
    }

    #[test]
    fn a_second_replay_adds_nothing() {
        let file = tally(&[(1, 10, 1)]);

        let outcome = Outcome::of(&file, &tally(&[(1, 12, 1)]), &tally(&[(1, 0, 0)]));

        assert_eq!(outcome, Outcome::Unchanged);
    }

    #[test]
    fn nothing_added_to_nothing_counted_is_not_called_a_repetition() {
        let file = tally(&[(99, 10, 1)]);

        let text = Outcome::of(&file, &tally(&[(1, 0, 0)]), &tally(&[(1, 0, 0)])).text(&file);

        assert!(text.starts_with("Less was added"), "{text}");
        assert!(text.contains("not registered"), "{text}");
    }

    #[test]
    fn a_file_that_was_counted_in_part_is_explained_ad_by_ad() {
        let file = tally(&[(1, 10, 1), (2, 5, 0)]);

        let text = Outcome::of(&file, &Tally::new(), &tally(&[(1, 4, 0), (2, 5, 0)])).text(&file);

        assert!(text.starts_with("Less was added"), "{text}");
        assert!(text.contains("ad 1: the file says 10/1 impressions/clicks, added were 4/0"));
        assert!(!text.contains("ad 2"), "{text}");
    }

    #[test]
    fn more_than_the_file_says_is_not_called_a_duplicate() {
        let file = tally(&[(1, 10, 1)]);

        let text = Outcome::of(&file, &Tally::new(), &tally(&[(1, 10, 1), (7, 1, 0)])).text(&file);

        assert!(text.contains("for some ads it is more"), "{text}");
    }
}
