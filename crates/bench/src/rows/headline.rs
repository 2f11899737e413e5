//! The headline: clicks a second through all of it, posted, acknowledged, stored once, counted, visible.

use std::time::Duration;

use anyhow::{Context as _, bail};

use super::{
    Effort,
    search::Bracket,
    stage::{Outcome, Setting, Stage, Way},
};
use crate::{
    load::Pace,
    progress::note,
    report::{Headline, number},
};

/// What is aimed at on two cores.
const CLICKS_PER_SECOND: f64 = 17_000.0;
const BATCHED_PER_SECOND: f64 = 60_000.0;

/// An event is to be visible in Redis within this, 99 times of 100.
const FRESH_WITHIN: Duration = Duration::from_secs(1);

/// Of the rate that is asked for, this much must be answered with success, in time.
const KEPT_UP: f64 = 0.99;

/// A rate is too much that was not kept up so often: a checkpoint, or whatever else the machine does, holds
/// up a probe of a few seconds by itself.
const PROBES: u32 = 2;

/// How long a probe may take to be counted after its end: in a few seconds a lag that grows does not
/// get to a second yet.
const DRAINED_WITHIN: Duration = Duration::from_millis(600);

/// How long it is pushed as hard as it goes, to find where to begin.
const PUSH: Duration = Duration::from_secs(3);

/// Every request waits for the one before it on its connection, so an open load may reach some more.
const ABOVE_THE_PUSH: f64 = 1.1;

/// Of the rate that was not kept up for as long as it takes; what was accepted, where that was less.
const NEXT: f64 = 0.96;
const TRIES: u32 = 8;

/// The headline of one way to post.
pub(crate) async fn of(way: Way, effort: Effort) -> anyhow::Result<Headline> {
    let setting = Setting::usual(way);
    let mut stage = Stage::set(setting).await?;
    let mut rate = search(&mut stage, effort).await?;
    stage.finish().await?;
    for _ in 0..TRIES {
        note(&format!("{} events/s for {:?}", number(rate), effort.headline));
        let mut stage = Stage::set(setting).await?;
        let outcome = stage.load(way.pace(rate), effort.headline).await?;
        stage.finish().await?;
        if keeps_up(&outcome, rate) {
            let target = match way {
                Way::OneByOne => CLICKS_PER_SECOND,
                Way::InBatches => BATCHED_PER_SECOND,
            };
            return Ok(Headline { way, lasted: effort.headline, target, outcome });
        }
        note(&format!("was not kept up: {}", told(&outcome)));
        // A machine that has become slower meanwhile needs more than a few small steps.
        rate = (rate * NEXT).min(outcome.accepted_per_second);
    }
    bail!("no rate was kept up for {:?} in {TRIES} tries: measure again", effort.headline)
}

/// The highest rate that is kept up for a few seconds, within a twentieth.
pub(crate) async fn search(stage: &mut Stage, effort: Effort) -> anyhow::Result<f64> {
    let way = stage.way();
    let pushed = stage.load(Pace::Closed, PUSH).await?;
    note(&format!("pushed: {}", told(&pushed)));
    let mut bracket = Bracket::below(pushed.accepted_per_second * ABOVE_THE_PUSH);
    while let Some(rate) = bracket.next() {
        let mut kept_up = false;
        for _ in 0..PROBES {
            let outcome = stage.load(way.pace(rate), effort.probe).await?;
            kept_up = keeps_up(&outcome, rate) && outcome.drained <= DRAINED_WITHIN;
            let verdict = if kept_up { "kept up" } else { "not kept up" };
            note(&format!("{} events/s: {verdict}: {}", number(rate), told(&outcome)));
            if kept_up {
                break;
            }
        }
        bracket.tell(rate, kept_up);
    }
    bracket.kept().context("no rate was kept up")
}

fn keeps_up(outcome: &Outcome, rate: f64) -> bool {
    let all = outcome.answers.accepted() == outcome.answers.all();
    let fresh = outcome.visible.1.is_some_and(|it| it <= FRESH_WITHIN);
    all && fresh && outcome.accepted_per_second >= rate * KEPT_UP
}

fn told(outcome: &Outcome) -> String {
    format!(
        "{} events/s accepted, acknowledged in {} ms (p99), visible in {} (p50, p99), counted {} ms after the end",
        number(outcome.accepted_per_second),
        number(outcome.answers.ms(0.99)),
        outcome.visible_in(),
        outcome.drained.as_millis(),
    )
}
