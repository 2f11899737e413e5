//! What was measured, as a table for the terminal and for `docs/BENCHMARKS.md`.

use std::{fmt::Write as _, time::Duration};

use comfy_table::{Table, presets::ASCII_MARKDOWN};

use crate::{
    machine::Machine,
    pairs::Pairs,
    progress::short,
    rows::stage::{Outcome, Way},
};

/// All that was measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) rows: Vec<Row>,
    pub(crate) headlines: Vec<Headline>,
    pub(crate) growth: Vec<Section>,
    /// What row 4 has found, in events a second.
    pub(crate) counted_per_second: Option<f64>,
}

/// One row of the comparisons.
#[derive(Debug)]
pub(crate) struct Row {
    /// As in the list of targets.
    pub(crate) number: &'static str,
    pub(crate) measured: String,
    pub(crate) against: String,
    pub(crate) result: String,
    pub(crate) target: Option<Target>,
    /// Of the target, and of the value.
    pub(crate) unit: Unit,
    /// What the target is compared with.
    pub(crate) value: f64,
}

/// What is aimed at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    AtMost(f64),
    AtLeast(f64),
}

/// What a target is told in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unit {
    /// A ratio has none.
    Ratio,
    Ms,
    Mb,
    EventsPerSecond,
}

/// The highest rate that was kept up.
#[derive(Debug)]
pub(crate) struct Headline {
    pub(crate) way: Way,
    pub(crate) lasted: Duration,
    pub(crate) target: f64,
    pub(crate) outcome: Outcome,
}

/// A table of its own.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) title: String,
    pub(crate) text: String,
    pub(crate) header: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Target {
    fn is_met_by(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }

    fn verdict(self, value: f64) -> &'static str {
        if self.is_met_by(value) { "met" } else { "**missed**" }
    }

    fn words(self, unit: Unit) -> String {
        let unit = match unit {
            Unit::Ratio => "",
            Unit::Ms => " ms",
            Unit::Mb => " MB",
            Unit::EventsPerSecond => " events/s",
        };
        match self {
            Self::AtMost(limit) => format!("≤ {}{unit}", number(limit)),
            Self::AtLeast(limit) => format!("≥ {}{unit}", number(limit)),
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
            unit: Unit::Ratio,
            value: ratio.median,
        }
    }

    fn cells(&self) -> Vec<String> {
        let (target, met) = self.target.map_or((String::new(), ""), |target| {
            (target.words(self.unit), target.verdict(self.value))
        });
        let Self { number, measured, against, result, .. } = self;
        let met = met.to_owned();
        vec![(*number).to_owned(), measured.clone(), against.clone(), result.clone(), target, met]
    }
}

impl Headline {
    fn cells(&self) -> Vec<String> {
        let way = match self.way {
            Way::OneByOne => "clicks posted one by one",
            Way::InBatches => "clicks in batches of 100",
        };
        let Self { target, lasted, outcome, .. } = self;
        let target = Target::AtLeast(*target);
        vec![
            way.to_owned(),
            format!("{} for {} s", number(outcome.accepted_per_second), lasted.as_secs()),
            target.words(Unit::EventsPerSecond),
            target.verdict(outcome.accepted_per_second).to_owned(),
            format!("{}, {}", number(outcome.answers.ms(0.5)), number(outcome.answers.ms(0.99))),
            outcome.visible_in(),
        ]
    }

    /// Where the machine goes, for each event.
    fn parts(&self) -> Vec<String> {
        let parts = &self.outcome.us_by_part;
        let all = parts.iter().map(|(_, us)| us).sum();
        let cells = parts.iter().map(|(_, us)| number(*us)).chain([number(all)]);
        let way = if self.way == Way::OneByOne { "one by one" } else { "in batches" };
        [way.to_owned()].into_iter().chain(cells).collect()
    }
}

impl Report {
    /// The whole report in Markdown, which is readable in a terminal too.
    pub(crate) fn render(&self, machine: &Machine, command: &str, took: Duration) -> String {
        let took = short(took);
        let mut text = String::new();
        // Writing to a string cannot fail.
        writeln!(
            text,
            "# Benchmarks\n\nWritten by `{command}` in {took} (minutes and seconds): do not edit. {MEANING}\n\n{machine}"
        )
        .ok();
        if !self.rows.is_empty() {
            let header = ["#", "measured", "against", "result (least to most)", "target", ""];
            let rows = self.rows.iter().map(Row::cells);
            writeln!(text, "\n## Side by side\n\n{}", table(header, rows)).ok();
        }
        if let Some(first) = self.headlines.first() {
            let header =
                ["", "events/s", "target", "", "acknowledged, ms (p50, p99)", "visible (p50, p99)"];
            let rows = table(header, self.headlines.iter().map(Headline::cells));
            let parts = first.outcome.us_by_part.iter().map(|(part, _)| *part);
            let header: Vec<&str> =
                ["µs of processor"].into_iter().chain(parts).chain(["all"]).collect();
            let parts = table(header, self.headlines.iter().map(Headline::parts));
            writeln!(text, "\n## Headline\n\n{HEADLINE}\n\n{rows}\n\n{PARTS}\n\n{parts}").ok();
        }
        for Section { title, text: words, header, rows } in &self.growth {
            let table = table(header, rows.iter().cloned());
            writeln!(text, "\n## {title}\n\n{words}\n\n{table}").ok();
        }
        text
    }
}

const MEANING: &str =
    "What the numbers mean, what is missed and why: [PERFORMANCE.md](PERFORMANCE.md).";

const HEADLINE: &str = "Kafka, Postgres (synced to disk), Redis, the three services and what asks, all on this machine: the highest rate at \
which 99 % of the rate were answered, all with 200, and 99 of 100 events were visible in Redis within a second of their arrival. Every \
accepted click was found once: on Kafka, in the rows, the totals, Redis, and the answer of the API, which somebody asked each second meanwhile.";

const PARTS: &str = "Where the machine goes, for each event:";

fn table<H: Into<comfy_table::Row>>(header: H, rows: impl Iterator<Item = Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(header);
    for row in rows {
        table.add_row(row);
    }
    table
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
