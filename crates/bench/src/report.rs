//! What was measured, as a table for the terminal and for `docs/BENCHMARKS.md`.

use std::fmt::Write as _;

use comfy_table::{Table, presets::ASCII_MARKDOWN};

use crate::{machine::Machine, pairs::Pairs};

/// One row of the report.
#[derive(Debug)]
pub(crate) struct Row {
    /// As in the list of targets.
    pub(crate) number: &'static str,
    pub(crate) measured: String,
    pub(crate) against: String,
    pub(crate) result: String,
    pub(crate) target: Option<Target>,
    /// What the target is compared with.
    pub(crate) value: f64,
}

/// What is aimed at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    AtMost(f64),
    AtLeast(f64),
}

impl Target {
    fn is_met_by(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }

    fn words(self) -> String {
        match self {
            Self::AtMost(limit) => format!("≤ {}", number(limit)),
            Self::AtLeast(limit) => format!("≥ {}", number(limit)),
        }
    }
}

impl Row {
    /// A row of two things that were measured in turn, both in `unit`.
    pub(crate) fn of_pairs(
        number_of_row: &'static str,
        (measured, against): (&str, &str),
        unit: &str,
        pairs: &Pairs,
        target: Target,
    ) -> Self {
        let (a, b) = pairs.medians();
        let ratio = pairs.ratio();
        Self {
            number: number_of_row,
            measured: format!("{measured}: {} {unit}", number(a)),
            against: format!("{against}: {} {unit}", number(b)),
            result: format!("{:.2} ({:.2} to {:.2})", ratio.median, ratio.least, ratio.most),
            target: Some(target),
            value: ratio.median,
        }
    }
}

/// The whole report in Markdown, which is readable in a terminal too.
pub(crate) fn render(machine: &Machine, rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(["#", "measured", "against", "ratio (least to most)", "target", ""]);
    for row in rows {
        let (target, met) = row.target.map_or((String::new(), ""), |target| {
            (target.words(), if target.is_met_by(row.value) { "met" } else { "**missed**" })
        });
        table.add_row([row.number, &row.measured, &row.against, &row.result, &target, met]);
    }
    let mut text = String::new();
    // Writing to a string cannot fail.
    writeln!(text, "{machine}\n\n{table}").ok();
    text
}

/// A count as a floating-point number. Counts here are far below 2^53, above which it is inexact.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// A number as people read it: three digits that matter.
pub(crate) fn number(value: f64) -> String {
    if value >= 1000.0 {
        let whole = format!("{value:.0}");
        let mut text = String::new();
        for (place, digit) in whole.chars().enumerate() {
            if place > 0 && (whole.len() - place) % 3 == 0 {
                text.push(',');
            }
            text.push(digit);
        }
        text
    } else if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_as_people_read_them() {
        let shown = [1_234_567.8, 999.4, 17.25, 0.333].map(number);
        assert_eq!(shown, ["1,234,568", "999", "17.2", "0.33"]);
    }

    #[test]
    fn a_target_is_met_at_its_limit() {
        assert!(Target::AtMost(1.3).is_met_by(1.3));
        assert!(!Target::AtMost(1.3).is_met_by(1.31));
        assert!(Target::AtLeast(5.0).is_met_by(5.0));
    }
}
