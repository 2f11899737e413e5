//! The headline: clicks a second through all of it, posted, acknowledged, stored once, counted, visible.

use std::time::Duration;

use anyhow::ensure;
use e2e::{Pipeline, Program, Services};

use super::{BEHIND_A_PROXY, Effort, batches, ingest};
use crate::{
    histogram::Buckets,
    load::{Answers, Pace, Plan},
    report::{Row, Target, float, number},
};

/// What is aimed at on two cores.
const CLICKS_PER_SECOND: f64 = 17_000.0;
const BATCHED_PER_SECOND: f64 = 60_000.0;

/// An event is to be visible in Redis within this, 99 times of 100.
const FRESH_WITHIN: Duration = Duration::from_secs(1);

/// How long it is pushed as hard as it goes, to find where to begin.
const PUSH: Duration = Duration::from_secs(5);

/// Of what came through when it was pushed: the consumer needs its share too.
const FIRST_TRY: f64 = 0.95;

/// Of the rate that was too much.
const NEXT_TRY: f64 = 0.85;
const TRIES: u32 = 14;

/// How events are posted.
#[derive(Clone, Copy, Debug)]
enum Way {
    OneByOne,
    InBatches,
}

/// The headline.
pub(crate) async fn one_by_one(effort: Effort) -> anyhow::Result<Row> {
    of(Way::OneByOne, effort).await
}

/// The same with clicks in batches.
pub(crate) async fn in_batches(effort: Effort) -> anyhow::Result<Row> {
    of(Way::InBatches, effort).await
}

/// Finds the highest rate at which nothing is lost and everything is fresh.
async fn of(way: Way, effort: Effort) -> anyhow::Result<Row> {
    let pushed = run(way, Pace::Closed, PUSH).await?;
    let mut rate = pushed.accepted_per_second * FIRST_TRY;
    for _ in 0..TRIES {
        let pace = Pace::Open { per_second: rate / way.events_of_a_request() };
        let run = run(way, pace, effort.headline).await?;
        let keeps_up = run.accepted_per_second >= rate * 0.99;
        if keeps_up && run.fresh_within.is_some_and(|it| it <= FRESH_WITHIN) {
            return Ok(way.row(&run, effort));
        }
        rate *= NEXT_TRY;
    }
    anyhow::bail!("no rate down to {} events/s was kept up", number(rate))
}

impl Way {
    fn events_of_a_request(self) -> f64 {
        match self {
            Self::OneByOne => 1.0,
            Self::InBatches => f64::from(batches::EVENTS),
        }
    }

    fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::OneByOne => &BEHIND_A_PROXY,
            Self::InBatches => &batches::NO_LIMIT,
        }
    }

    async fn post(self, plan: Plan) -> anyhow::Result<Answers> {
        match self {
            Self::OneByOne => ingest::post(Plan { connections: 512, ..plan }).await,
            Self::InBatches => batches::post(Plan { connections: 32, ..plan }).await,
        }
    }

    fn row(self, run: &Run, effort: Effort) -> Row {
        let (name, target) = match self {
            Self::OneByOne => ("clicks posted one by one", CLICKS_PER_SECOND),
            Self::InBatches => ("clicks in batches of 100", BATCHED_PER_SECOND),
        };
        let seconds = effort.headline.as_secs();
        Row {
            number: "headline",
            measured: format!("{name}, all of it on this machine, for {seconds} s, nothing lost"),
            against: format!(
                "visible within {:?} (p99); acknowledged within {} ms (p50), {} ms (p99)",
                run.fresh_within.unwrap_or_default(),
                number(run.acknowledged_ms.0),
                number(run.acknowledged_ms.1),
            ),
            result: format!("{} events/s", number(run.accepted_per_second)),
            target: Some(Target::AtLeast(target)),
            value: run.accepted_per_second,
        }
    }
}

/// What came of a load.
struct Run {
    accepted_per_second: f64,
    /// The 50th and the 99th of 100.
    acknowledged_ms: (f64, f64),
    /// In which the 99th of 100 was visible; `None` where it took longer than can be told.
    fresh_within: Option<Duration>,
}

/// Runs everything under a load, and checks that what was accepted is there, once.
async fn run(way: Way, pace: Pace, lasts: Duration) -> anyhow::Result<Run> {
    let pipeline = Pipeline::new("bench-headline").await;
    let services = Services {
        ingest: pipeline.start(Program::Ingest, way.settings()).await,
        consumer: pipeline.start(Program::Consumer, &[]).await,
        analytics: pipeline.start(Program::Analytics, &[]).await,
    };
    // Connections are the way's own.
    let plan = Plan { to: services.ingest.address(), connections: 0, pace, lasts };
    let answers = way.post(plan).await?;
    let accepted = float(answers.accepted()) * way.events_of_a_request();
    ensure!(answers.accepted() == answers.all(), "refused: {:?}", answers.statuses);

    // Kafka's end, the rows, the totals and Redis say the same; and that is what was accepted.
    let counts = pipeline.settle().await;
    let stored = float(counts.total(proto_schemas::Kind::Click));
    ensure!((stored - accepted).abs() < 0.5, "{accepted} were accepted, {stored} are stored");

    let visible = Buckets::read(&services.consumer.metrics().await, VISIBLE);
    let ms = |quantile| float(answers.times.value_at_quantile(quantile)) / 1000.0;
    Ok(Run {
        accepted_per_second: accepted / answers.took.as_secs_f64(),
        acknowledged_ms: (ms(0.5), ms(0.99)),
        fresh_within: visible.quantile(0.99),
    })
}

/// From `received_at` until Redis shows it.
const VISIBLE: &str = "consumer_visible_delay_seconds";
