//! The services under chaos: killed, stopped, frozen, and more of them coming and going.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::{sleep, timeout};

use crate::{
    chaos::{deck::Step, links::Links},
    clock::Clock,
    pipeline::Pipeline,
    service::{Program, Service},
    small_disk::SmallDisk,
    wait::{POLL, let_last},
};

/// Exit codes of a process that ended in good order, aborted, or met a fault of memory: closing a
/// consumer whose broker is away can crash it, which must cost nothing.
const ENDED: [i32; 3] = [0, 134, 139];

const HOUR_S: i64 = 3600;

/// After this long Kafka gives up a member that says nothing.
const SESSION: Duration = Duration::from_secs(10);

/// Steps of counting at which a consumer can be killed.
const FAILPOINTS: [&str; 6] = [
    "before-fence",
    "after-insert",
    "before-commit",
    "after-commit",
    "during-redis",
    "before-kafka-offset",
];

/// What happens to a service.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ServiceFault {
    IngestKilled,
    IngestStopped,
    IngestFrozen,
    ConsumerKilled,
    ConsumerStopped,
    ConsumerFrozen,
    /// Frozen for longer than its session, so that the other takes over.
    ConsumerZombie,
    /// One more comes, and dies at this step of counting.
    ConsumerDoomed(&'static str),
    /// One more comes, freezes at this step of counting until another has its partitions, and wakes.
    ConsumerZombieAt(&'static str),
    /// One more comes, and goes in good order.
    ConsumerJoins,
    AnalyticsKilled,
    SpoolDiskFull,
    /// Its wall clock is an hour ahead, then an hour behind, and then right again.
    ClockJumps(Program),
}

/// One ingest service with a spool, two consumers, one analytics service.
#[derive(Debug)]
pub(super) struct Services {
    pub(super) ingest: Service,
    consumers: [Service; 2],
    pub(super) analytics: Service,
    /// How often each ended by itself, and was started again.
    pub(super) ended: BTreeMap<&'static str, u32>,
    /// Where consumers reach their stores.
    stores: Vec<(&'static str, String)>,
    spool: SmallDisk,
    ingest_clock: Clock,
    /// Of both.
    consumer_clock: Clock,
    analytics_clock: Clock,
}

impl ServiceFault {
    pub(super) fn all() -> Vec<Self> {
        let doomed = FAILPOINTS.map(Self::ConsumerDoomed);
        let others = [
            Self::IngestKilled,
            Self::IngestStopped,
            Self::IngestFrozen,
            Self::ConsumerKilled,
            Self::ConsumerStopped,
            Self::ConsumerFrozen,
            Self::ConsumerZombie,
            Self::ConsumerJoins,
            Self::AnalyticsKilled,
            Self::SpoolDiskFull,
        ];
        let zombies = FAILPOINTS.map(Self::ConsumerZombieAt);
        let clocks = Program::ALL.map(Self::ClockJumps);
        doomed.into_iter().chain(zombies).chain(clocks).chain(others).collect()
    }
}

impl Services {
    /// Starts all of them, with the stores behind `links`, and waits until they are ready.
    pub(super) async fn start(pipeline: &Pipeline, links: &Links) -> Self {
        let spool = SmallDisk::new(8);
        let folder = spool.path().join("spool").display().to_string();
        let stores = vec![
            ("DATABASE_URL", pipeline.database_url(links.postgres.port())),
            ("REDIS_URL", format!("redis://127.0.0.1:{}", links.redis.port())),
            // Small batches: one is under way at nearly every moment.
            ("BATCH_MAX_EVENTS", "50".to_owned()),
        ];
        // Small enough to be full at times.
        let spooling = [("SPOOL_DIR", folder.as_str()), ("SPOOL_MAX_BYTES", "1MiB")];
        let clocks = [(); 3].map(|()| Clock::new());
        let of_ingest = [&spooling[..], &clocks[0].settings()].concat();
        let of_consumers = [&borrowed(&stores)[..], &clocks[1].settings()].concat();
        let of_analytics = [&borrowed(&stores)[..], &clocks[2].settings()].concat();
        let (ingest, first, second, analytics) = tokio::join!(
            pipeline.start(Program::Ingest, &of_ingest),
            pipeline.start(Program::Consumer, &of_consumers),
            pipeline.start(Program::Consumer, &of_consumers),
            pipeline.start(Program::Analytics, &of_analytics),
        );
        let [ingest_clock, consumer_clock, analytics_clock] = clocks;
        Self {
            ingest,
            consumers: [first, second],
            analytics,
            ended: BTreeMap::new(),
            stores,
            spool,
            ingest_clock,
            consumer_clock,
            analytics_clock,
        }
    }

    pub(super) async fn inject(&mut self, pipeline: &Pipeline, step: Step<ServiceFault>) {
        self.revive();
        let Step { lasting, choice, .. } = step;
        let consumer = &mut self.consumers[choice % 2];
        match step.fault {
            ServiceFault::IngestKilled => killed(&mut self.ingest),
            ServiceFault::IngestStopped => stopped(&mut self.ingest, &[0]).await,
            ServiceFault::IngestFrozen => frozen(&self.ingest, lasting).await,
            ServiceFault::ConsumerKilled => killed(consumer),
            ServiceFault::ConsumerStopped => stopped(consumer, &ENDED).await,
            ServiceFault::ConsumerFrozen => frozen(consumer, lasting).await,
            ServiceFault::ConsumerZombie => frozen(consumer, SESSION + lasting / 2).await,
            ServiceFault::ConsumerDoomed(point) => {
                let settings = borrowed(&self.stores);
                let mut doomed = pipeline.spawn_doomed_with(point, nth(choice), &settings);
                // Where others keep all batches from it, it is killed somewhere else.
                drop(timeout(lasting + SESSION, doomed.exit_code()).await);
            }
            ServiceFault::ConsumerZombieAt(point) => {
                let settings = borrowed(&self.stores);
                let zombie = pipeline.spawn_zombie(point, nth(choice), &settings);
                // Where others keep all batches from it, it is frozen somewhere else.
                let frozen = async {
                    while !zombie.process().is_frozen() {
                        sleep(POLL).await;
                    }
                };
                drop(timeout(SESSION, frozen).await);
                zombie.freeze();
                let_last(SESSION + lasting / 2).await;
                zombie.thaw();
                // Long enough to do what it was about to do; then it is killed.
                let_last(lasting / 2).await;
            }
            ServiceFault::ConsumerJoins => {
                let mut guest = pipeline.spawn(Program::Consumer, &borrowed(&self.stores));
                let_last(lasting).await;
                guest.terminate();
                let code = guest.exit_code().await;
                assert!(ENDED.contains(&code), "a consumer that was stopped ended with {code}");
            }
            ServiceFault::AnalyticsKilled => killed(&mut self.analytics),
            // Elsewhere the spool's own limit, which is lower, has to do.
            ServiceFault::SpoolDiskFull if self.spool.is_mounted() => {
                self.spool.fill();
                let_last(lasting).await;
                self.spool.make_space();
            }
            ServiceFault::SpoolDiskFull => {}
            ServiceFault::ClockJumps(program) => {
                let clock = match program {
                    Program::Ingest => &self.ingest_clock,
                    Program::Consumer => &self.consumer_clock,
                    Program::Analytics => &self.analytics_clock,
                };
                for ahead in [HOUR_S, -HOUR_S] {
                    clock.set_ahead(ahead);
                    let_last(lasting / 2).await;
                }
                clock.set_ahead(0);
            }
        }
    }

    /// Starts again what has ended by itself, as every place where services run does.
    pub(super) fn revive(&mut self) {
        let [first, second] = &mut self.consumers;
        let all = [&mut self.ingest, first, second, &mut self.analytics];
        for service in all {
            if service.has_ended() {
                *self.ended.entry(service.program().name()).or_default() += 1;
                service.restart();
            }
        }
    }
}

fn borrowed<'a>(settings: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    settings.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// One of the first times that a step is reached.
fn nth(choice: usize) -> u32 {
    u32::try_from(choice % 10).unwrap_or_default() + 1
}

fn killed(service: &mut Service) {
    service.kill_9();
    service.restart();
}

async fn stopped(service: &mut Service, codes: &[i32]) {
    service.terminate();
    let code = service.exit_code().await;
    assert!(codes.contains(&code), "{} ended with {code}", service.program().name());
    service.restart();
}

async fn frozen(service: &Service, lasting: Duration) {
    service.freeze();
    let_last(lasting).await;
    service.thaw();
}
