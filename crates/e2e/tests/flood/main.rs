//! The flood: far more than ingest can answer, and those who behave notice little of it.
//!
//! A binary of its own, so that no other test runs beside it: it compares times.

use std::{
    collections::BTreeSet,
    fs,
    net::Ipv4Addr,
    ops::Range,
    time::{Duration, Instant},
};

use e2e::{Answer, Client, Flood, Pipeline, Program, Service, Throttle, click};
use proto_schemas::Kind;
use rand::RngExt as _;
use reqwest::Method;
use tokio::{task::JoinSet, time::sleep};

/// What ingest gets of each tenth of a second.
const ON: Duration = Duration::from_millis(20);
const OFF: Duration = Duration::from_millis(80);

/// Viewers who behave, and how long each waits between two impressions: within the usual limits.
const SENDERS: u8 = 20;
const PAUSE: Range<Duration> = Duration::from_millis(100)..Duration::from_millis(300);

const WITHOUT_FLOOD: Duration = Duration::from_secs(15);
const WITH_FLOOD: Duration = Duration::from_secs(50);

const CONNECTIONS: usize = 1000;

const MAX_BYTES: u64 = 200_000_000;

#[tokio::test]
async fn a_flood_from_five_million_addresses_costs_those_who_behave_little_time_and_nobody_an_answer()
 {
    let pipeline = Pipeline::new("flood").await;
    let settings = [("TRUSTED_SENDERS", ""), ("TRUSTED_PROXIES", "127.0.0.1")];
    let ingest = pipeline.start(Program::Ingest, &settings).await;
    let _consumer = pipeline.start(Program::Consumer, &[]).await;
    let analytics = pipeline.start(Program::Analytics, &[]).await;
    let throttle = Throttle::hold(ingest.process(), ON, OFF);

    let before = senders(&ingest, "before", WITHOUT_FLOOD).await;
    let flood = Flood::start(ingest.address(), CONNECTIONS);
    let (during, newcomer_tries) =
        tokio::join!(senders(&ingest, "during", WITH_FLOOD), newcomer(&ingest));
    let flooded = flood.stop().await;
    drop(throttle);

    let most = peak_memory(ingest.process().id());
    let (usual, flooded_p99) = (before.percentile(99), during.percentile(99));
    report(&format!(
        "{} and {} requests of senders, p50 {:?} and {:?}, p99 {usual:?} and {flooded_p99:?} ({:.2} \
         times), max {:?} and {:?}; flood: {:?}, {} unanswered; {} MB",
        before.took.len(),
        during.took.len(),
        before.percentile(50),
        during.percentile(50),
        flooded_p99.as_secs_f64() / usual.as_secs_f64(),
        before.percentile(100),
        during.percentile(100),
        flooded.answers,
        flooded.unanswered,
        most / 1_000_000,
    ));
    let turned_away = ingest.metric("ingest_overload_turned_away_total").await;
    assert!(turned_away > 0.0, "it was more than ingest could answer");
    assert_eq!(flooded.unanswered, 0, "{:?}", flooded.answers);
    let known = BTreeSet::from([200, 429, 503]);
    let answers: BTreeSet<_> = flooded.answers.keys().copied().collect();
    assert!(answers.is_subset(&known), "{:?}", flooded.answers);
    assert!(most < MAX_BYTES, "{most} bytes");
    // The first time it may be turned away; it is known when it comes again.
    assert!(newcomer_tries <= 2, "{newcomer_tries}");
    assert!(flooded_p99 <= 3 * usual, "{flooded_p99:?}, and {usual:?} without the flood");

    let counts = pipeline.check(&[flooded.sent], Some(&analytics)).await;
    // And the newcomer's.
    let impressions = before.took.len() + during.took.len() + 1;
    assert_eq!(counts.total(Kind::Impression), impressions as u64);
}

/// How long each answer took. All of them were successes.
#[derive(Debug, Default)]
struct Waits {
    took: Vec<Duration>,
}

impl Waits {
    fn percentile(&self, percent: usize) -> Duration {
        self.took[(self.took.len() - 1) * percent / 100]
    }
}

/// Viewers who post one impression after the other.
async fn senders(ingest: &Service, name: &str, how_long: Duration) -> Waits {
    let until = Instant::now() + how_long;
    let mut senders = JoinSet::new();
    for number in 0..SENDERS {
        senders.spawn(sender(
            ingest.url("/ads/impression"),
            format!("{name}-{number}"),
            number,
            until,
        ));
    }
    let mut took = senders.join_all().await.concat();
    took.sort_unstable();
    Waits { took }
}

async fn sender(url: String, name: String, number: u8, until: Instant) -> Vec<Duration> {
    let http = Client::new();
    let mut took = Vec::new();
    for nth in 0.. {
        // Random: a multiple of the throttle's period would always meet ingest awake.
        let pause = rand::rng().random_range(PAUSE);
        sleep(pause).await;
        let started = Instant::now();
        if started >= until {
            break;
        }
        let viewer = Ipv4Addr::new(12, 0, 0, number);
        let answer = see(&http, &url, viewer, &format!("{name}-{nth}")).await;
        took.push(started.elapsed());
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    took
}

/// A viewer who comes in the middle of it, and does as it is told. Returns how often it had to ask.
async fn newcomer(ingest: &Service) -> usize {
    sleep(WITH_FLOOD / 2).await;
    let (http, url) = (Client::new(), ingest.url("/ads/impression"));
    for tries in 1.. {
        let answer = see(&http, &url, Ipv4Addr::new(12, 0, 1, 1), "newcomer").await;
        if answer.status == 200 {
            return tries;
        }
        assert_eq!((answer.status, answer.error_code().as_str()), (503, "overloaded"));
        sleep(Duration::from_secs(answer.retry_after_secs().expect("whole seconds"))).await;
    }
    0
}

async fn see(http: &Client, url: &str, viewer: Ipv4Addr, event_id: &str) -> Answer {
    let request = http.request(Method::POST, url).header("x-forwarded-for", viewer.to_string());
    Answer::to(request.json(&click(1, event_id))).await
}

/// The most that a process has ever taken of the machine's memory.
fn peak_memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let kibibytes = status.lines().find_map(|line| {
        line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    1024 * kibibytes.expect("a process with memory of its own")
}

#[expect(
    clippy::print_stderr,
    reason = "what was measured is worth knowing also where it was enough"
)]
fn report(line: &str) {
    eprintln!("{line}");
}
