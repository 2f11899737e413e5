//! Row 14: the wall clock of one service jumps an hour ahead and an hour back, under load and idle.

use std::{collections::BTreeSet, net::Ipv4Addr, time::Duration};

use e2e::{
    Client, Clock, Load, Observer, Pipeline, Program, Sent, Service, click, kafka, let_last, until,
};
use proto_schemas::{Timestamp, headers::rfc3339};
use tempfile::TempDir;

const HOUR_S: i64 = 3600;

/// How far ahead the clock is after each jump: an hour ahead, two hours back, and right again.
const JUMPS: [i64; 3] = [HOUR_S, -HOUR_S, 0];

/// Longer than Kafka waits for a member that says nothing.
const SESSION: Duration = Duration::from_secs(15);

/// What a player waits at most: 4.5 s with a spool, 2.5 s without, and what a busy machine adds.
const DEADLINE: Duration = Duration::from_secs(8);

/// So that clicks are accepted by an ingest that is an hour behind.
const TOLERANT: (&str, &str) = ("MAX_EVENT_AHEAD", "2h");

#[tokio::test]
async fn an_ingest_whose_clock_jumps_an_hour_either_way_answers_on_and_limits_on() {
    let pipeline = Pipeline::new("faultclockingest").await;
    let clock = Clock::new();
    let settings = [&clock.settings()[..], &[TOLERANT]].concat();
    let mut ingest = pipeline.start(Program::Ingest, &settings).await;
    let _consumer = pipeline.start(Program::Consumer, &[TOLERANT]).await;
    let analytics = pipeline.start(Program::Analytics, &[]).await;
    let observer = Observer::start(&pipeline, Some(&analytics));
    let load = Load::start(&ingest.url("/ads/click"), 2);
    let mut viewer = Viewer::of(&ingest);

    for ahead in JUMPS {
        load.until_accepted(50).await;
        viewer.use_up_the_limit().await;
        clock.set_ahead(ahead);
        // A limiter that went by the wall clock would forget an hour's worth of clicks.
        assert!(viewer.is_limited().await, "{ahead}");
        load.until_accepted(50).await;
        until("a click is allowed again", async || viewer.click().await == 200).await;
    }
    load.until_accepted(50).await;
    let sent = load.stop().await;

    assert!(sent.other_answers().is_empty() && sent.unanswered() == 0);
    assert!(sent.slowest < DEADLINE, "{:?}", sent.slowest);
    for jump in ["> '50 minutes'", "< '-50 minutes'"] {
        let rows = format!("SELECT count(*) FROM clicks WHERE received_at - occurred_at {jump}");
        assert!(pipeline.number(&rows).await >= 50, "{jump}");
    }
    pipeline.check(&[sent, viewer.sent], Some(&analytics)).await;
    assert!(observer.stop().await.compared > 0);
    stops_in_good_order_an_hour_ago(&mut ingest, &clock).await;
}

#[tokio::test]
async fn an_ingest_whose_clock_is_far_off_refuses_clicks_and_keeps_none_of_these() {
    let pipeline = Pipeline::new("faultclockoff").await;
    let clock = Clock::new();
    let ingest = pipeline.start(Program::Ingest, &clock.settings()).await;
    let _consumer = pipeline.start(Program::Consumer, &[]).await;
    let (url, mut refused) = (ingest.url("/ads/click"), 0);
    let load = Load::start(&url, 2);

    // An hour behind, ours is the wrong clock; and Kafka takes nothing from more than an hour ahead.
    for (ahead, answer) in
        [(-HOUR_S, (400, "timestamp_in_future")), (2 * HOUR_S, (503, "unavailable"))]
    {
        load.until_accepted(50).await;
        clock.set_ahead(ahead);
        for _ in 0..20 {
            refused += 1;
            let seen = pipeline.http.post(&url, &click(1, &format!("refused-{refused}"))).await;
            assert_eq!((seen.status, seen.error_code().as_str()), answer);
        }
        clock.set_ahead(0);
    }
    load.until_accepted(50).await;
    let sent = load.stop().await;

    assert!(sent.other_answers().is_subset(&BTreeSet::from([400, 503])));
    pipeline.check(&[sent], None).await;
}

#[tokio::test]
async fn a_spool_in_use_is_drained_though_the_clock_of_ingest_jumps_an_hour_either_way() {
    const EVENTS: &str = "ingest_spool_events";
    let (mut kafka, proxy) = kafka::start().await;
    let pipeline = Pipeline::on("faultclockspool", kafka::stack_with(&proxy)).await;
    let (clock, folder) = (Clock::new(), TempDir::new().expect("a folder"));
    let spool = ("SPOOL_DIR", folder.path().to_str().expect("a path"));
    let settings = [&clock.settings()[..], &[TOLERANT, spool]].concat();
    let mut ingest = pipeline.start(Program::Ingest, &settings).await;
    let _consumer = pipeline.start(Program::Consumer, &[TOLERANT]).await;
    let load = Load::start(&ingest.url("/ads/click"), 2);
    load.until_accepted(50).await;

    kafka.kill();
    proxy.cut();
    for ahead in JUMPS.into_iter().chain([-HOUR_S]) {
        let spooled = ingest.metric(EVENTS).await + 50.0;
        until("clicks are spooled", async || ingest.metric(EVENTS).await >= spooled).await;
        clock.set_ahead(ahead);
    }
    let sent = load.stop().await;
    // Nobody posts, so nothing but its own patience brings ingest back to Kafka.
    kafka.restart().await.expect("kafka starts again");
    until("the spool is empty", async || ingest.metric(EVENTS).await.eq(&0.0)).await;

    assert!(sent.other_answers().is_empty() && sent.unanswered() == 0);
    assert!(sent.slowest < DEADLINE, "{:?}", sent.slowest);
    pipeline.check(&[sent], None).await;
    stops_in_good_order_an_hour_ago(&mut ingest, &clock).await;
}

#[tokio::test]
async fn a_consumer_whose_clock_jumps_an_hour_either_way_counts_on_and_stays_in_its_group() {
    let pipeline = Pipeline::new("faultclockconsumer").await;
    let clock = Clock::new();
    let ingest = pipeline.start(Program::Ingest, &[]).await;
    let mut consumer = pipeline.start(Program::Consumer, &clock.settings()).await;
    let analytics = pipeline.start(Program::Analytics, &[]).await;
    let observer = Observer::start(&pipeline, Some(&analytics));
    let load = Load::start(&ingest.url("/ads/click"), 2);

    for ahead in JUMPS {
        load.until_accepted(50).await;
        clock.set_ahead(ahead);
        load.until_accepted(50).await;
        pipeline.until_counted(i64::try_from(load.accepted()).expect("few")).await;
    }
    let sent = load.stop().await;
    let counts = pipeline.settle_with_api(&analytics).await;

    // Nothing to read: nothing but its own patience makes it say to Kafka that it is still there.
    clock.set_ahead(-HOUR_S);
    let_last(SESSION).await;
    assert_eq!(pipeline.group_members().await, 1);
    let later = Load::start(&ingest.url("/ads/click"), 1);
    later.until_accepted(1).await;
    let sent = [sent, later.stop().await];

    let all = pipeline.check(&sent, Some(&analytics)).await;
    assert!(counts.at_most(&all) && counts != all);
    assert!(observer.stop().await.compared > 0);
    stops_in_good_order_an_hour_ago(&mut consumer, &clock).await;
}

#[tokio::test]
async fn an_analytics_whose_clock_jumps_an_hour_either_way_goes_on_with_fresh_numbers() {
    let pipeline = Pipeline::new("faultclockanalytics").await;
    let clock = Clock::new();
    let ingest = pipeline.start(Program::Ingest, &[]).await;
    let _consumer = pipeline.start(Program::Consumer, &[]).await;
    let mut analytics = pipeline.start(Program::Analytics, &clock.settings()).await;
    let observer = Observer::start(&pipeline, Some(&analytics));
    let mut sent = Vec::new();

    for ahead in JUMPS.into_iter().chain([-HOUR_S]) {
        clock.set_ahead(ahead);
        let load = Load::start(&ingest.url("/ads/click"), 2);
        load.until_accepted(50).await;
        sent.push(load.stop().await);
        pipeline.settle_with_api(&analytics).await;
    }

    pipeline.check(&sent, Some(&analytics)).await;
    assert!(observer.stop().await.compared > 0);
    stops_in_good_order_an_hour_ago(&mut analytics, &clock).await;
}

/// Stops a service whose clock has just gone back: none of its waits may take that hour longer. And
/// its last words show whose clock it had.
async fn stops_in_good_order_an_hour_ago(service: &mut Service, clock: &Clock) {
    clock.set_ahead(0);
    service.ready().await;
    clock.set_ahead(-HOUR_S);
    service.terminate();
    assert_eq!(service.exit_code().await, 0);

    let said = service.process().said();
    assert!(!said.contains("cut short"), "{said}");
    let last = said.lines().last().expect("a line");
    let minutes = |ago: i64| {
        let time = Timestamp::from_micros(Timestamp::now().as_micros() - ago * 60_000_000);
        rfc3339(time.expect("in range"))
    };
    assert!(last < minutes(50).as_str() && last > minutes(70).as_str(), "{last}");
}

/// Somebody whose clicks are limited, unlike those of the other players.
struct Viewer {
    http: Client,
    url: String,
    sent: Sent,
}

impl Viewer {
    fn of(ingest: &Service) -> Self {
        let http = Client::at(Ipv4Addr::new(127, 0, 0, 2));
        Self { http, url: ingest.url("/ads/click"), sent: Sent::default() }
    }

    async fn click(&mut self) -> u16 {
        let id = format!("viewer-{}", self.sent.outcomes.len());
        let status = self.http.post(&self.url, &click(1, &id)).await.status;
        self.sent.outcomes.insert(id, Some(status));
        status
    }

    async fn use_up_the_limit(&mut self) {
        until("clicks are limited", async || self.click().await == 429).await;
    }

    /// Tells whether the limit is still in force: if it were not, all ten clicks would be accepted.
    async fn is_limited(&mut self) -> bool {
        for _ in 0..10 {
            if self.click().await == 429 {
                return true;
            }
        }
        false
    }
}
