//! What a replay has done so far, and how that is told at its end.

use std::{cell::RefCell, collections::BTreeMap, fmt, time::Duration};

use proto_schemas::Kind;
use serde::Serialize;

use super::{expected::Counts, post::Settled};

/// How many events of one refusal are shown.
const EXAMPLES: usize = 3;

/// How many kinds of refusal are told apart: a strange server could invent any number of codes.
const MAX_REFUSALS: usize = 20;

/// What a replay has done so far. Bounded, however long the file.
#[derive(Debug, Default, Serialize)]
pub(super) struct Summary {
    rows: u64,
    impressions_accepted: u64,
    clicks_accepted: u64,
    /// By status and code.
    refused: BTreeMap<String, Refused>,
    /// Neither accepted nor refused when the replay ended early.
    unsettled: u64,
    /// By what came instead of an answer that settles an event.
    retries: BTreeMap<String, u64>,
    duration_seconds: f64,
    events_per_second: f64,
}

#[derive(Debug, Default, Serialize)]
struct Refused {
    events: u64,
    examples: Vec<String>,
}

/// Tries that did not settle an event, counted by all the posts that are under way.
#[derive(Debug, Default)]
pub(super) struct Retries {
    counts: RefCell<BTreeMap<String, u64>>,
    latest: RefCell<Option<String>>,
}

impl Retries {
    /// `trouble` is a status, or one of few texts: that bounds the map.
    pub(super) fn add(&self, trouble: String) {
        self.latest.replace(Some(trouble.clone()));
        *self.counts.borrow_mut().entry(trouble).or_default() += 1;
    }

    /// The trouble that was met since this was asked last.
    pub(super) fn take_latest(&self) -> Option<String> {
        self.latest.take()
    }
}

impl Summary {
    /// `file` is what the file holds; nothing of it is settled yet.
    pub(super) fn new(file: Counts) -> Self {
        Self {
            rows: file.impressions,
            unsettled: file.impressions + file.clicks,
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, settled: Settled) {
        self.unsettled = self.unsettled.saturating_sub(1);
        match settled {
            Settled::Accepted(Kind::Impression) => self.impressions_accepted += 1,
            Settled::Accepted(Kind::Click) => self.clicks_accepted += 1,
            Settled::Refused(refusal) => {
                let mut name = format!("{} {}", refusal.status.as_u16(), refusal.code);
                if self.refused.len() >= MAX_REFUSALS && !self.refused.contains_key(name.trim()) {
                    "other".clone_into(&mut name);
                }
                let refused = self.refused.entry(name.trim().to_owned()).or_default();
                refused.events += 1;
                if refused.examples.len() < EXAMPLES {
                    refused.examples.push(refusal.example);
                }
            }
        }
    }

    /// Events that are settled, and events in all.
    pub(super) fn progress(&self) -> (u64, u64) {
        let settled = self.accepted() + self.refused();
        (settled, settled + self.unsettled)
    }

    pub(super) fn finish(&mut self, retries: &Retries, took: Duration) {
        self.retries.clone_from(&retries.counts.borrow());
        self.duration_seconds = took.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
        let settled = self.progress().0 as f64;
        self.events_per_second = settled / self.duration_seconds.max(0.001);
    }

    pub(super) fn all_accepted(&self) -> bool {
        self.unsettled == 0 && self.refused.is_empty()
    }

    pub(super) fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    fn accepted(&self) -> u64 {
        self.impressions_accepted + self.clicks_accepted
    }

    fn refused(&self) -> u64 {
        self.refused.values().map(|it| it.events).sum()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "rows       {}", self.rows)?;
        writeln!(
            out,
            "accepted   {} ({} impressions, {} clicks)",
            self.accepted(),
            self.impressions_accepted,
            self.clicks_accepted
        )?;
        writeln!(out, "refused    {}", self.refused())?;
        for (name, refused) in &self.refused {
            writeln!(out, "           {}: {}, for example", name, refused.events)?;
            for example in &refused.examples {
                writeln!(out, "             {example}")?;
            }
        }
        if self.unsettled > 0 {
            writeln!(out, "unsettled  {}", self.unsettled)?;
        }
        write!(out, "retries    {}", self.retries.values().sum::<u64>())?;
        for (place, (trouble, times)) in self.retries.iter().enumerate() {
            let before = if place == 0 { " (" } else { ", " };
            write!(out, "{before}{trouble}: {times}")?;
        }
        writeln!(out, "{}", if self.retries.is_empty() { "" } else { ")" })?;
        writeln!(out, "duration   {:.1} s", self.duration_seconds)?;
        write!(out, "rate       {:.0} events/s", self.events_per_second)
    }
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::{super::post::Refusal, *};

    fn refusal(code: &str, example: &str) -> Settled {
        Settled::Refused(Refusal {
            status: StatusCode::BAD_REQUEST,
            code: code.to_owned(),
            example: example.to_owned(),
        })
    }

    #[test]
    fn a_summary_says_what_became_of_every_event() {
        let retries = Retries::default();
        let mut summary = Summary::new(Counts { impressions: 8, clicks: 1 });
        summary.add(Settled::Accepted(Kind::Impression));
        summary.add(Settled::Accepted(Kind::Click));
        for event in 1..=5 {
            summary.add(refusal("too_old", &format!("line {event}")));
        }
        retries.add("503".to_owned());
        retries.add("503".to_owned());
        retries.add("no connection".to_owned());

        summary.finish(&retries, Duration::from_secs(2));

        assert_eq!(
            summary.to_string(),
            "rows       8\n\
             accepted   2 (1 impressions, 1 clicks)\n\
             refused    5\n           \
                        400 too_old: 5, for example\n             \
                          line 1\n             line 2\n             line 3\n\
             unsettled  2\n\
             retries    3 (503: 2, no connection: 1)\n\
             duration   2.0 s\n\
             rate       4 events/s"
        );
        assert!(!summary.all_accepted());
    }

    #[test]
    fn a_server_that_invents_codes_fills_no_memory() {
        let mut summary = Summary::new(Counts { impressions: 1000, clicks: 0 });

        for event in 0..1000 {
            summary.add(refusal(&format!("code_{event}"), "example"));
        }

        assert_eq!(summary.refused.len(), MAX_REFUSALS + 1);
        assert_eq!(summary.refused(), 1000);
        assert_eq!(summary.progress(), (1000, 1000));
    }
}
