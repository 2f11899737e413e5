//! Tells Redis what was counted, and mends it where it differs from Postgres. Never holds up
//! storing: what cannot be sent is dropped, and made anew from Postgres.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use click_store::{
    Pool, Projection, StoreError, TopicPartition,
    projection::{Advance, Advanced},
    repair::{self, Difference, Repaired},
    within,
};
use futures::{StreamExt, stream};
use proto_schemas::{Kind, Timestamp};
use service_kit::traces::Context;
use tokio::{
    sync::{Notify, mpsc},
    time::{MissedTickBehavior, interval},
};
use tracing::{debug, info, warn};

use crate::{
    assignment::Assignment,
    failpoint::{self, Point},
    metrics::{Metrics, Projected},
    partition::{Partition, TopicNames},
    spans,
};

/// How often Redis is compared with Postgres. Mends partitions without traffic after a flush.
const COMPARE_EVERY: Duration = Duration::from_secs(2);

/// How long one comparison, or one repair, may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Batches that wait for Redis at most. A batch more is dropped.
const MAX_WAITING: usize = 64;

/// How long nothing may fail until an outage is over. A Redis that takes no writes (no memory, a full
/// disk) answers every comparison, and fails at the repair that every second one asks for.
const OVER_AFTER: Duration = Duration::from_secs(10);

/// Partitions that are repaired at the same time: fewer than the pool has connections.
const REPAIRS_AT_ONCE: usize = 2;

/// Where the counting loop leaves what Redis should know. Cheap to clone; never waits.
#[derive(Clone, Debug)]
pub(crate) struct Projections {
    batches: mpsc::Sender<Committed>,
    compare: Arc<Notify>,
    metrics: Metrics,
}

/// What Redis should know of one counted batch of one partition.
#[derive(Debug)]
pub(crate) struct News {
    pub(crate) advance: Advance,
    /// When its events were received.
    pub(crate) received: Vec<Timestamp>,
}

/// Sends to Redis.
pub(crate) struct Projector {
    pub(crate) pool: Pool,
    pub(crate) projection: Projection,
    pub(crate) assignment: Assignment,
    pub(crate) names: TopicNames,
    pub(crate) metrics: Metrics,
    batches: mpsc::Receiver<Committed>,
    compare: Arc<Notify>,
    /// Where partitions stood in Redis that were behind at the last comparison. Bounded by the
    /// partitions of the topics.
    behind: HashMap<TopicPartition, i64>,
    outage: Mutex<Outage>,
}

/// A batch that was counted.
#[derive(Debug)]
struct Committed {
    news: Vec<News>,
    /// In the course of which it was.
    course: Context,
}

/// Whether Redis keeps failing, so that each outage is logged once. No clock of its own.
#[derive(Debug, Default)]
struct Outage {
    last_failure: Option<Instant>,
    /// Whether it was Redis that failed last, and not Postgres, which is asked too.
    of_redis: bool,
}

impl Projections {
    /// Adds a committed batch to Redis, unless too many wait already.
    pub(crate) fn advance(&self, news: Vec<News>) {
        let batch = Committed { news, course: Context::current() };
        if let Err(refused) = self.batches.try_send(batch) {
            for _ in refused.into_inner().news {
                self.metrics.projected(Projected::Dropped);
            }
        }
    }

    /// Compares all of this consumer's partitions soon.
    pub(crate) fn compare(&self) {
        self.compare.notify_one();
    }
}

impl Projector {
    pub(crate) fn new(
        pool: Pool,
        projection: Projection,
        assignment: Assignment,
        names: TopicNames,
        metrics: Metrics,
    ) -> (Projections, Self) {
        let (sender, batches) = mpsc::channel(MAX_WAITING);
        let compare = Arc::new(Notify::new());
        let handle = Projections {
            batches: sender,
            compare: Arc::clone(&compare),
            metrics: metrics.clone(),
        };
        let projector = Self {
            pool,
            projection,
            assignment,
            names,
            metrics,
            batches,
            compare,
            behind: HashMap::new(),
            outage: Mutex::default(),
        };
        (handle, projector)
    }

    /// Runs until every [`Projections`] is gone and what waited is sent.
    pub(crate) async fn run(mut self) {
        let mut tick = interval(COMPARE_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let compare = Arc::clone(&self.compare);
        loop {
            // All three are cancel safe; sending happens in an arm's body.
            tokio::select! {
                biased;

                () = compare.notified() => self.compare_all().await,

                _ = tick.tick() => self.compare_all().await,

                batch = self.batches.recv() => match batch {
                    Some(Committed { news, course }) => {
                        let span = spans::redis(news.len(), course);
                        let told = span.around(self.advance_all(news)).await;
                        if !told {
                            span.failed("not_told");
                        }
                    }
                    None => return,
                },
            }
        }
    }

    /// Sends one batch, all of its partitions at once; those where Redis stands elsewhere are
    /// repaired. Says whether Redis has taken all of it.
    async fn advance_all(&self, batch: Vec<News>) -> bool {
        let sent = futures::future::join_all(batch.iter().map(async |it| {
            let outcome = self.projection.advance(&it.advance).await;
            // Some of the scripts have run now, and others may be under way.
            failpoint::reach(Point::DuringRedis);
            outcome
        }));
        let (mut elsewhere, mut all_told) = (Vec::new(), true);
        for (News { advance, received }, outcome) in batch.iter().zip(sent.await) {
            let (projected, repair) = match outcome {
                Ok(Advanced::Applied) => (Projected::Applied, false),
                Ok(Advanced::Already) => (Projected::Already, false),
                // Counted further by another owner, or by a repair that overtook this batch; or ahead
                // of a Postgres that was set back. Comparing tells, once for all of them.
                Ok(Advanced::Further(_)) => {
                    self.compare.notify_one();
                    (Projected::Already, false)
                }
                Ok(Advanced::Gap) => (Projected::Gap, true),
                Err(error) => {
                    self.note_failure(&error);
                    all_told = false;
                    (Projected::Failed, false)
                }
            };
            self.metrics.projected(projected);
            // What Redis had already, by a repair, has been visible for an unknown time.
            if projected == Projected::Applied {
                self.metrics.visible(received, Timestamp::now());
            }
            if repair {
                elsewhere.push(advance.at.clone());
            }
        }
        self.repair_all(elsewhere).await;
        all_told
    }

    /// Compares every partition of ours with Postgres, and repairs those that differ and will not
    /// mend by themselves.
    async fn compare_all(&mut self) {
        let ours: Vec<_> =
            self.assignment.projected().into_iter().map(|it| self.names.at(it)).collect();
        if ours.is_empty() {
            self.behind.clear();
            self.metrics.redis_differs(0, 0);
            return self.ask_for_nothing().await;
        }
        let compared = within(LIMIT, repair::compare(&self.pool, &self.projection, &ours)).await;
        let differences = match compared {
            Ok(differences) => differences,
            Err(error) => return self.note_failure(&error),
        };
        if self.outage(|it| it.answered(Instant::now())) {
            info!("redis is told and compared again");
        }
        self.metrics.redis_answered(!self.outage(|it| it.is_of_redis()));
        // One that is behind has its increments under way, unless it still stands there at the
        // next comparison.
        let (mut wrong, mut behind) = (Vec::new(), HashMap::new());
        self.metrics.redis_differs(missing(&differences), count_wrong(&differences));
        for (at, difference) in differences {
            match difference {
                Difference::Behind { offset, .. } if self.behind.get(&at) != Some(&offset) => {
                    behind.insert(at, offset);
                }
                Difference::Behind { .. } | Difference::Wrong => wrong.push(at),
            }
        }
        self.behind = behind;
        self.repair_all(wrong).await;
    }

    /// A consumer too many has nothing to compare, and still wants to know whether Redis is there.
    async fn ask_for_nothing(&self) {
        let any = self.names.at(Partition { kind: Kind::Click, number: 0 });
        match self.projection.peek(&any).await {
            Ok(_) => self.metrics.redis_answered(true),
            Err(error) => self.note_failure(&error),
        }
    }

    async fn repair_all(&self, partitions: Vec<TopicPartition>) {
        stream::iter(partitions)
            .for_each_concurrent(REPAIRS_AT_ONCE, async |at| {
                match within(LIMIT, repair::repair(&self.pool, &self.projection, &at)).await {
                    Ok(Repaired::Replaced) => {
                        debug!(kafka.topic = %at.topic, kafka.partition = at.partition, "wrote redis anew");
                        self.metrics.repaired();
                    }
                    Ok(Repaired::Agreed | Repaired::LeftAlone) => {}
                    Err(error) => self.note_failure(&error),
                }
            })
            .await;
    }

    fn note_failure(&self, error: &StoreError) {
        let of_redis = matches!(error, StoreError::Redis(_));
        if of_redis {
            self.metrics.redis_answered(false);
        }
        if self.outage(|it| it.failed(Instant::now(), of_redis)) {
            warn!(%error, "redis could not be told, or not compared; counting goes on, and it is mended later");
        } else {
            debug!(%error, "redis could not be told, or not compared");
        }
    }

    fn outage(&self, change: impl FnOnce(&mut Outage) -> bool) -> bool {
        // It is whole after every statement under the lock.
        change(&mut self.outage.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How many events Redis is behind, in the partitions where it may mend itself.
fn missing(differences: &HashMap<TopicPartition, Difference>) -> i64 {
    let behind = differences.values().filter_map(|it| match it {
        Difference::Behind { by, .. } => Some(*by),
        Difference::Wrong => None,
    });
    behind.sum()
}

fn count_wrong(differences: &HashMap<TopicPartition, Difference>) -> usize {
    differences.values().filter(|it| matches!(it, Difference::Wrong)).count()
}

impl Outage {
    fn is_of_redis(&self) -> bool {
        self.last_failure.is_some() && self.of_redis
    }

    /// Takes in a failure, and says whether an outage begins with it.
    fn failed(&mut self, now: Instant, of_redis: bool) -> bool {
        self.of_redis = of_redis;
        self.last_failure.replace(now).is_none()
    }

    /// Takes in an answer, and says whether an outage ends with it.
    fn answered(&mut self, now: Instant) -> bool {
        let over = self.last_failure.is_some_and(|it| now.duration_since(it) >= OVER_AFTER);
        if over {
            self.last_failure = None;
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redis_that_answers_and_refuses_in_turn_is_one_outage() {
        let (mut outage, start) = (Outage::default(), Instant::now());
        let after = |comparisons| start + comparisons * COMPARE_EVERY;
        assert!(!outage.answered(after(0)), "there was none");

        assert!(outage.failed(after(1), true));
        for comparison in 2..30 {
            assert!(!outage.answered(after(comparison)));
            assert!(comparison % 2 == 0 || !outage.failed(after(comparison), true), "said once");
        }
        assert!(outage.answered(after(29) + OVER_AFTER));
        assert!(!outage.answered(after(30) + OVER_AFTER), "said once");
        assert!(outage.failed(after(40), false), "the next one");
        assert!(!outage.is_of_redis(), "postgres failed");
    }
}
