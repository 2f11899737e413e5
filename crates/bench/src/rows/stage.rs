//! Everything at once: the three services, a load on them, and somebody who looks at the analytics.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use click_store::ads;
use e2e::{Pipeline, Program, Service, until};
use proto_schemas::{AdId, Kind};
use tokio::time::{MissedTickBehavior, interval};

use super::{BEHIND_A_PROXY, ad, batches, ingest};
use crate::{
    cpu::{self, Servers},
    histogram::Buckets,
    load::{Answers, Pace, Plan},
    report::float,
};

/// From `received_at` until Redis shows it.
const VISIBLE: &str = "consumer_visible_delay_seconds";

/// How long all of a load may take to be counted.
const DRAINED_WITHIN: Duration = Duration::from_mins(3);

/// How long Redis may take to show what is counted, before its times count as unknown.
const SHOWN_WITHIN: Duration = Duration::from_secs(10);

/// More than ingest may hold of those whom it turns away, which is half of what it serves: viewers have a
/// connection each, and a load that has only those that are held would wait with them.
const CONNECTIONS_OF_STRANGERS: u32 = 2_048;

/// With the default of `INGEST_OVERLOAD_DELAY`, and room for some more connections than the load has.
const PROTECTED: [(&str, &str); 3] =
    [BEHIND_A_PROXY[0], BEHIND_A_PROXY[1], ("INGEST_MAX_CONNECTIONS", "2100")];

/// Those who look at the analytics: one, once a second.
const LOOKS: Duration = Duration::from_secs(1);

/// How events are posted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Way {
    OneByOne,
    InBatches,
}

/// What runs, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) way: Way,
    /// Each event is of one of these, 1 to `ads`.
    pub(crate) ads: u64,
    pub(crate) consumers: usize,
    /// With overload protection: who was never seen before waits behind the others, and is shed.
    pub(crate) protected: bool,
}

/// The services, in a pipeline of their own.
pub(crate) struct Stage {
    setting: Setting,
    pipeline: Pipeline,
    ingest: Service,
    consumers: Vec<Service>,
    analytics: Service,
    servers: Servers,
    /// Events that were answered with success, and those that were not: these may be stored too.
    accepted: u64,
    refused: u64,
}

/// What came of a load.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) answers: Answers,
    /// Events, not requests.
    pub(crate) accepted_per_second: f64,
    /// In which half, and 99 of 100, were visible in Redis; `None` where it took longer than can be
    /// told, or is not known.
    pub(crate) visible: (Option<Duration>, Option<Duration>),
    /// From the end of the load until all of it was counted.
    pub(crate) drained: Duration,
    /// Processor time of each part, in microseconds for each accepted event.
    pub(crate) us_by_part: Vec<(&'static str, f64)>,
}

impl Way {
    pub(crate) fn events_of_a_request(self) -> u32 {
        match self {
            Self::OneByOne => 1,
            Self::InBatches => batches::EVENTS,
        }
    }

    /// So many events a second, in the requests of this way.
    pub(crate) fn pace(self, events_per_second: f64) -> Pace {
        Pace::Open { per_second: events_per_second / f64::from(self.events_of_a_request()) }
    }
}

impl Outcome {
    /// In which half, and 99 of 100, were visible: bounds of the histogram that tells it.
    pub(crate) fn visible_in(&self) -> String {
        let bound = |it: Option<Duration>| it.map_or("?".to_owned(), |it| format!("≤ {it:?}"));
        format!("{}, {}", bound(self.visible.0), bound(self.visible.1))
    }
}

impl Setting {
    /// What the headline is measured with.
    pub(crate) const fn usual(way: Way) -> Self {
        Self { way, ads: ingest::ADS, consumers: 1, protected: false }
    }

    /// From how many connections it is posted.
    fn connections(self) -> u32 {
        match (self.way, self.protected) {
            (Way::OneByOne, false) => 512,
            (Way::OneByOne, true) => CONNECTIONS_OF_STRANGERS,
            (Way::InBatches, _) => 32,
        }
    }

    fn of_ingest(self) -> &'static [(&'static str, &'static str)] {
        match (self.way, self.protected) {
            (Way::OneByOne, false) => &BEHIND_A_PROXY,
            (Way::OneByOne, true) => &PROTECTED,
            (Way::InBatches, _) => &batches::NO_LIMIT,
        }
    }
}

impl Stage {
    pub(crate) async fn set(setting: Setting) -> anyhow::Result<Self> {
        let pipeline = Pipeline::new("bench-stage").await;
        let ids = (1..=setting.ads).filter_map(AdId::new).map(ad);
        ads::add(pipeline.pool(), &ids.collect::<Vec<_>>()).await?;
        let mut consumers = Vec::new();
        for _ in 0..setting.consumers {
            consumers.push(pipeline.start(Program::Consumer, &[]).await);
        }
        Ok(Self {
            setting,
            ingest: pipeline.start(Program::Ingest, setting.of_ingest()).await,
            analytics: pipeline.start(Program::Analytics, &[]).await,
            consumers,
            pipeline,
            servers: Servers::beside(),
            accepted: 0,
            refused: 0,
        })
    }

    /// Posts events, and waits until all that were accepted are counted and visible.
    ///
    /// # Errors
    ///
    /// Where a service has ended, a connection was cut, or the analytics did not answer.
    pub(crate) async fn load(&mut self, pace: Pace, lasts: Duration) -> anyhow::Result<Outcome> {
        let (visible, taken) = (self.visible().await, self.taken()?);
        let plan = Plan {
            to: self.ingest.address(),
            connections: self.setting.connections(),
            pace,
            lasts,
        };
        let answers = tokio::select! {
            answers = self.post(plan) => answers?,
            looked = self.look() => match looked? {},
        };
        let events = u64::from(self.setting.way.events_of_a_request());
        let accepted = answers.accepted() * events;
        ensure!(accepted > 0, "nothing was accepted: {:?}", answers.statuses);
        self.accepted += accepted;
        self.refused += (answers.all() - answers.accepted()) * events;

        let drained = self.until_counted().await?;
        let shown = self.until_shown(&visible, accepted).await;
        let us_by_part =
            self.taken()?.into_iter().zip(taken).map(|((part, after), (_, before))| {
                (part, after.saturating_sub(before).as_secs_f64() * 1e6 / float(accepted))
            });
        Ok(Outcome {
            accepted_per_second: float(accepted) / answers.took.as_secs_f64(),
            visible: shown.map_or((None, None), |it| (it.quantile(0.5), it.quantile(0.99))),
            drained,
            us_by_part: us_by_part.collect(),
            answers,
        })
    }

    /// Checks that what was accepted is there, once: on Kafka, in the rows, in the totals, in Redis
    /// and in the answer of the API. Then it is thrown away: a minute in batches leaves some 7 GB.
    pub(crate) async fn finish(mut self) -> anyhow::Result<()> {
        self.all_run()?;
        let counts = self.pipeline.settle().await;
        let stored = counts.total(Kind::Click);
        let (least, most) = (self.accepted, self.accepted + self.refused);
        ensure!(
            (least..=most).contains(&stored),
            "{least} were accepted, {} refused, and {stored} are stored",
            self.refused
        );
        // From either store: Redis takes too long where there are very many ads.
        until("the API shows what is stored", async || {
            self.pipeline.shown_by(&self.analytics).await.is_some_and(|it| it == counts)
        })
        .await;
        let Self { ingest, consumers, analytics, pipeline, .. } = self;
        drop((ingest, consumers, analytics));
        pipeline.discard().await;
        Ok(())
    }

    pub(crate) fn way(&self) -> Way {
        self.setting.way
    }

    /// What each service takes of memory, in megabytes: a field of `/proc/<pid>/status`.
    pub(crate) fn resident_mb(&self, field: &str) -> anyhow::Result<Vec<(&'static str, f64)>> {
        let services = [&self.ingest, &self.analytics].into_iter().chain(&self.consumers);
        let of = |service: &Service| {
            let file = format!("/proc/{}/status", service.process().id());
            let status = std::fs::read_to_string(file)?;
            let kibibytes = status.lines().find_map(|line| {
                line.strip_prefix(field)?.trim().strip_suffix(" kB")?.parse::<u32>().ok()
            });
            let kibibytes = kibibytes.with_context(|| format!("no {field}"))?;
            anyhow::Ok((service.program().name(), f64::from(kibibytes) * 1024.0 / 1e6))
        };
        services.map(of).collect()
    }

    async fn post(&self, plan: Plan) -> anyhow::Result<Answers> {
        match self.setting.way {
            Way::OneByOne => ingest::post_to(plan, self.setting.ads, Arc::default()).await,
            Way::InBatches => batches::post_to(plan, self.setting.ads, Arc::default()).await,
        }
    }

    /// Looks at the analytics for ever; whoever looks is to be answered all the time.
    async fn look(&self) -> anyhow::Result<Infallible> {
        let url = self.analytics.url("/ads/analytics");
        let mut ticks = interval(LOOKS);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let answer =
                self.pipeline.http.try_get(&url).await.context("no answer of analytics")?;
            ensure!(answer.status == 200, "the analytics answered {}", answer.status);
        }
    }

    async fn until_counted(&mut self) -> anyhow::Result<Duration> {
        let all = i64::try_from(self.accepted)?;
        let begun = Instant::now();
        while self.pipeline.counted().await < all {
            self.all_run()?;
            ensure!(begun.elapsed() < DRAINED_WITHIN, "not counted within {DRAINED_WITHIN:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(begun.elapsed())
    }

    /// What became visible since `before`; `None` where some of it did by a repair, which does not
    /// know when.
    async fn until_shown(&self, before: &Buckets, accepted: u64) -> Option<Buckets> {
        let begun = Instant::now();
        loop {
            let since = self.visible().await.since(before);
            if since.count() >= float(accepted) {
                return Some(since);
            }
            if begun.elapsed() > SHOWN_WITHIN {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn visible(&self) -> Buckets {
        let mut metrics = String::new();
        for consumer in &self.consumers {
            metrics.push_str(&consumer.metrics().await);
        }
        Buckets::read(&metrics, VISIBLE)
    }

    /// Processor time of each part so far.
    fn taken(&self) -> anyhow::Result<Vec<(&'static str, Duration)>> {
        let of = |service: &Service| cpu::taken_by(service.process().id());
        let consumers = self.consumers.iter().map(of).sum::<anyhow::Result<Duration>>()?;
        let services = [
            ("ingest", of(&self.ingest)?),
            ("consumer", consumers),
            ("analytics", of(&self.analytics)?),
        ];
        let asks = ("what asks", cpu::taken_by(std::process::id())?);
        Ok(services.into_iter().chain(self.servers.taken()).chain([asks]).collect())
    }

    fn all_run(&mut self) -> anyhow::Result<()> {
        let services = [&mut self.ingest, &mut self.analytics];
        for service in services.into_iter().chain(&mut self.consumers) {
            if service.has_ended() {
                bail!(
                    "{} ended: see {}",
                    service.program().name(),
                    service.process().log().display()
                );
            }
        }
        Ok(())
    }
}
