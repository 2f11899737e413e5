//! What became of the letters that were meant, in numbers and a few examples.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt,
};

use proto_schemas::AdId;

use super::judge::Verdict;
use crate::dead::{Letter, Origin};

/// How many origins, and how many ads, are named.
const EXAMPLES: usize = 5;

/// What became of the letters that were meant.
#[derive(Debug, Default)]
pub(super) struct Summary {
    dry_run: bool,
    sent: u64,
    stored: u64,
    repeated: u64,
    of_unknown_ads: u64,
    /// The first few of them.
    unknown_ads: BTreeSet<AdId>,
    /// By reason, of which there are few.
    left_alone: BTreeMap<String, u64>,
    without_value: Named,
    not_ours: Named,
    /// Origins that were met, as many as can be asked for.
    met: HashSet<Origin>,
}

/// A number, and the first few of them.
#[derive(Debug, Default)]
struct Named {
    letters: u64,
    examples: Vec<String>,
}

/// How many origins are remembered: more than anybody writes on a command line.
const MAX_MET: usize = 10_000;

impl Summary {
    pub(super) fn new(dry_run: bool) -> Self {
        Self { dry_run, ..Self::default() }
    }

    pub(super) fn add(&mut self, letter: &Letter, verdict: &Verdict) {
        if self.met.len() < MAX_MET {
            self.met.insert(letter.origin.clone());
        }
        match verdict {
            Verdict::Send { .. } => self.sent += 1,
            Verdict::Stored => self.stored += 1,
            Verdict::Repeated => self.repeated += 1,
            Verdict::UnknownAd(ad) => {
                self.of_unknown_ads += 1;
                if self.unknown_ads.len() < EXAMPLES {
                    self.unknown_ads.insert(*ad);
                }
            }
            Verdict::WouldDieAgain => {
                *self.left_alone.entry(letter.reason.clone()).or_default() += 1;
            }
            Verdict::NoValue => self.without_value.add(letter),
            Verdict::NotOurs => self.not_ours.add(letter),
        }
    }

    /// Whether a letter of this origin was met.
    pub(super) fn met(&self, origin: &Origin) -> bool {
        self.met.contains(origin)
    }

    /// Whether nothing that was meant is left that could not be put back.
    pub(super) fn is_complete(&self) -> bool {
        self.without_value.letters == 0 && self.not_ours.letters == 0
    }

    /// What was done until something failed.
    pub(super) fn so_far(&self) -> String {
        format!("{} put back until then", letters(self.sent))
    }
}

impl Named {
    fn add(&mut self, letter: &Letter) {
        self.letters += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(letter.origin.to_string());
        }
    }

    fn write(&self, out: &mut fmt::Formatter<'_>, what: &str) -> fmt::Result {
        if self.letters == 0 {
            return Ok(());
        }
        let more = if self.letters > EXAMPLES as u64 { ", …" } else { "" };
        write!(out, "\n{} {what}: {}{more}", letters(self.letters), self.examples.join(", "))
    }
}

fn letters(number: u64) -> String {
    if number == 1 { "1 letter".to_owned() } else { format!("{number} letters") }
}

impl fmt::Display for Summary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let put = if self.dry_run { "would be put back" } else { "put back" };
        write!(out, "{} {put}", letters(self.sent))?;
        if self.stored > 0 {
            write!(out, "\n{} stored already: not sent again", letters(self.stored))?;
        }
        if self.repeated > 0 {
            write!(out, "\n{} of an event that another one holds", letters(self.repeated))?;
        }
        if self.of_unknown_ads > 0 {
            let ads: Vec<String> = self.unknown_ads.iter().map(ToString::to_string).collect();
            let more = if ads.len() < EXAMPLES { "" } else { ", …" };
            let (number, ads) = (letters(self.of_unknown_ads), ads.join(", "));
            write!(out, "\n{number} left: nobody has registered the ad ({ads}{more})")?;
        }
        for (reason, number) in &self.left_alone {
            let number = letters(*number);
            write!(
                out,
                "\n{number} left: {reason} dies again as it is; --reason {reason} takes it"
            )?;
        }
        self.without_value.write(
            out,
            "without a value, which was too large to be kept (Kafka still holds it at its origin, \
             until its retention ends)",
        )?;
        self.not_ours.write(out, "of topics that are not of this pipeline (TOPIC_PREFIX)")
    }
}
