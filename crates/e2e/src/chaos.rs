//! Every fault of the matrix at random: three lanes break services, stores and links side by side.
//!
//! A seed decides what each lane does, for how long, and with which pauses, so that a run can be
//! repeated in kind. When exactly a fault meets which click is up to the machine.

mod deck;
mod links;
mod services;
mod stores;

use std::{
    collections::BTreeMap,
    fmt::{self, Debug, Display},
    time::{Duration, Instant},
};

use local_stack::testing::TestStack;
use service_kit::settings::groups::KafkaSecurity;

use crate::{
    chaos::{
        deck::{Deck, Step},
        links::{LinkFault, Links},
        services::{ServiceFault, Services},
        stores::{StoreFault, Stores},
    },
    load::{Load, Players, Sent},
    pipeline::Pipeline,
    wait::{let_last, until_within},
};

/// How long the spool may take until it is empty once Kafka is back: 1 MiB is some 1,300 events, 2,000
/// leave it each second, and Kafka may need a while to take anything.
const DRAINED_WITHIN: Duration = Duration::from_mins(1);

/// A run of chaos.
#[derive(Clone, Copy, Debug)]
pub struct Chaos {
    /// Decides about the faults.
    pub seed: u64,
    /// How long things break. Starting, mending and checking come on top, some two minutes at most.
    pub lasting: Duration,
}

/// What a pipeline has survived.
#[derive(Clone, Debug)]
pub struct Survived {
    /// How often each fault was injected.
    pub faults: BTreeMap<String, u32>,
    /// How often each service ended by itself and was started again.
    pub ended: BTreeMap<&'static str, u32>,
    pub accepted: usize,
    pub refused: usize,
    pub unanswered: usize,
    pub spooled: f64,
    pub dead_letters: i64,
}

/// Begins each line with the time since the start, and counts the faults.
#[derive(Debug)]
struct Journal {
    begun: Instant,
    /// When the last fault may begin.
    end: Instant,
}

impl Chaos {
    /// Breaks a pipeline of its own for as long as asked, mends it, and checks the five invariants.
    ///
    /// # Panics
    ///
    /// Where one of them does not hold, or the pipeline does not get well again.
    pub async fn run(self) -> Survived {
        let (mut stores, links) = Stores::start().await;
        let mut links = Links::new(links, &stores).await;
        let stack = TestStack {
            kafka_brokers: links.kafka_brokers(),
            kafka_security: KafkaSecurity::default(),
            database_url: stores.postgres.url(),
            redis_url: stores.redis.url(),
            redis_ca_file: None,
        };
        let pipeline = Pipeline::on(&format!("chaos{}", self.seed), stack).await;
        let mut services = Services::start(&pipeline, &links).await;
        stores.watch(&pipeline, &services.analytics);

        // Some post each click once, some until it is answered with success.
        let url = services.ingest.url("/ads/click");
        let patience = Duration::from_secs(10);
        let once = Players { patience, ..Players::default() };
        let again = Players { count: 2, patience, ..Players::persistent() };
        let loads = [Load::of(once, &url), Load::of(again, &url)];
        loads[0].until_accepted(100).await;

        let now = Instant::now();
        let journal = Journal { begun: now, end: now + self.lasting };
        let deck = |lane| Deck::new(self.seed, lane);
        let (of_services, of_stores, of_links) = tokio::join!(
            journal.wreak("services", deck(0).of(ServiceFault::all()), async |step| {
                services.inject(&pipeline, step).await;
            }),
            journal.wreak("stores", deck(1).of(StoreFault::all()), async |step| {
                stores.inject(&pipeline, step).await;
            }),
            journal.wreak("links", deck(2).of(LinkFault::all()), async |step| {
                links.inject(step).await;
            }),
        );
        journal.say("mended", &"what is left must be right");

        services.revive();
        loads[0].until_accepted(100).await;
        let mut sent = Vec::new();
        for load in loads {
            sent.push(load.stop().await);
        }
        until_within(DRAINED_WITHIN, "the spool is empty", async || {
            services.ingest.metric("ingest_spool_events").await == 0.0
        })
        .await;
        pipeline.check(&sent, Some(&services.analytics)).await;
        stores.watched().await;

        Survived {
            faults: [of_services, of_stores, of_links].into_iter().flatten().collect(),
            ended: services.ended.clone(),
            accepted: sent.iter().map(|it| it.accepted().len()).sum(),
            refused: sent.iter().map(refused).sum(),
            unanswered: sent.iter().map(Sent::unanswered).sum(),
            spooled: services.ingest.metric("ingest_spool_spooled_total").await,
            dead_letters: pipeline.dead_letters().await,
        }
    }
}

impl Display for Survived {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (fault, times) in &self.faults {
            writeln!(out, "{times:>4} x {fault}")?;
        }
        for (service, times) in &self.ended {
            writeln!(out, "{times:>4} x {service} ended by itself")?;
        }
        let Self { accepted, refused, unanswered, dead_letters, .. } = self;
        write!(
            out,
            "{accepted} clicks accepted, {refused} refused, {unanswered} without an answer; \
             {dead_letters} dead letters; every accepted click is counted once"
        )
    }
}

impl Journal {
    /// Injects the faults of one lane, one after the other, until it is time to stop; returns how
    /// often each was injected.
    async fn wreak<F: Copy + Debug>(
        &self,
        lane: &str,
        deck: Deck<F>,
        mut inject: impl AsyncFnMut(Step<F>),
    ) -> BTreeMap<String, u32> {
        let mut faults = BTreeMap::new();
        for step in deck {
            let_last(step.rest).await;
            if Instant::now() + step.lasting > self.end {
                break;
            }
            let fault = format!("{:?}", step.fault);
            self.say(lane, &format_args!("{fault} for {:.1} s", step.lasting.as_secs_f64()));
            inject(step).await;
            *faults.entry(fault).or_default() += 1;
        }
        faults
    }

    #[expect(clippy::print_stdout, reason = "whoever waits for minutes wants to see what happens")]
    fn say(&self, who: &str, what: &dyn Display) {
        println!("{:>7.1} s  {who:<8}  {what}", self.begun.elapsed().as_secs_f64());
    }
}

fn refused(sent: &Sent) -> usize {
    sent.outcomes.values().flatten().filter(|status| **status != 200).count()
}
