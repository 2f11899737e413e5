//! Row 13: the disk full under Kafka, Postgres, the spool and Redis; and right again.

use std::fs;

use e2e::{
    Link, Load, Observer, Pipeline, Players, Program, Service, SmallDisk, kafka, redis, until,
};
use local_stack::{
    kafka::Kafka,
    postgres::Postgres,
    redis::Redis,
    testing::{TestStack, stack},
};
use proto_schemas::Kind;

#[tokio::test]
async fn a_kafka_with_a_full_disk_takes_no_click_and_keeps_those_that_it_took() {
    let disk = SmallDisk::new(64);
    let mut kafka = Kafka::start(disk.place()).await.expect("kafka starts");
    let stack = TestStack { kafka_brokers: kafka.brokers(), ..stack() };
    let pipeline = Pipeline::on("faultkafkadisk", stack).await;
    let services = pipeline.start_all().await;
    let observer = Observer::start(&pipeline, Some(&services.analytics));
    let load = Load::of(Players::default(), &services.ingest.url("/ads/click"));
    load.until_accepted(100).await;

    disk.fill_under(&kafka);
    until("kafka has stopped itself", async || !kafka.is_running()).await;
    let refused = r#"ingest_events_total{kind="click",outcome="failed"}"#;
    until("clicks are refused", async || services.ingest.metric(refused).await >= 4.0).await;
    disk.make_space_under(&mut kafka);
    kafka.restart().await.expect("kafka starts again");
    load.until_accepted(100).await;
    let sent = load.stop().await;

    assert!(sent.other_answers().contains(&503), "nobody was refused");
    pipeline.check(&[sent], Some(&services.analytics)).await;
    assert!(observer.stop().await.compared > 0);
}

#[tokio::test]
async fn what_a_postgres_with_a_full_disk_refuses_is_counted_once_it_has_space() {
    /// Goes on to the next file of the log, for which there is no space. Not even for a message.
    const NEXT_LOG_FILE: &str = "SELECT pg_switch_wal(), pg_logical_emit_message(false, '', '')";
    let disk = SmallDisk::new(192);
    let mut postgres = Postgres::start(disk.place()).await.expect("postgres starts");
    let stack = TestStack { database_url: postgres.url(), ..stack() };
    let pipeline = Pipeline::on("faultpostgresdisk", stack).await;
    let services = pipeline.start_all().await;
    let observer = Observer::start(&pipeline, Some(&services.analytics));
    let load = Load::start(&services.ingest.url("/ads/click"), 2);
    load.until_accepted(100).await;
    pipeline.until_counted(50).await;

    // No table can grow.
    let before = refusals(&services.consumer).await;
    disk.fill_under(&postgres);
    until("batches are refused", async || refusals(&services.consumer).await >= before + 3.0).await;
    disk.make_space_under(&mut postgres);
    until_it_serves(&mut postgres, &pipeline).await;
    let now = i64::try_from(load.accepted()).expect("few");
    pipeline.until_counted(now).await;

    // Nor can the log, without which Postgres cannot go on.
    disk.fill_under(&postgres);
    until("postgres has stopped itself", async || {
        pipeline.try_execute(NEXT_LOG_FILE).await.ok();
        !postgres.is_running()
    })
    .await;
    load.until_accepted(50).await;
    disk.make_space_under(&mut postgres);
    until_it_serves(&mut postgres, &pipeline).await;
    load.until_accepted(50).await;
    let sent = load.stop().await;

    assert!(sent.other_answers().is_empty(), "clicks are accepted without postgres");
    pipeline.check(&[sent], Some(&services.analytics)).await;
    assert_eq!(pipeline.dead_letters().await, 0);
    assert!(observer.stop().await.compared > 0);
}

/// How many batches Postgres has refused for want of space, or because it had stopped for it.
async fn refusals(consumer: &Service) -> f64 {
    let of = async |reason: &str| {
        consumer.metric(&format!(r#"consumer_retries_total{{reason="postgres_{reason}"}}"#)).await
    };
    of("disk_full").await + of("connection").await
}

/// Starts a Postgres as often as it has stopped itself, until it writes again.
async fn until_it_serves(postgres: &mut Postgres, pipeline: &Pipeline) {
    until("postgres serves", async || {
        if !postgres.is_running() {
            postgres.restart().await.expect("postgres starts again");
        }
        pipeline.try_execute("SELECT pg_switch_wal()").await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_redis_without_memory_holds_up_no_click_and_no_answer() {
    let redis = redis::start().await;
    let pipeline = Pipeline::with_redis("faultredismemory", &redis.url()).await;
    // Less than an empty one takes.
    let full = async || redis::tell(&redis, "CONFIG SET maxmemory 100kb").await;
    let right = async || redis::tell(&redis, "CONFIG SET maxmemory 0").await;
    refuse_writes(&pipeline, full, right).await;
}

#[tokio::test]
async fn a_redis_that_cannot_write_its_dump_holds_up_no_click_and_no_answer() {
    let disk = SmallDisk::new(8);
    let redis = Redis::start(disk.place()).await.expect("redis starts");
    let pipeline = Pipeline::with_redis("faultredisdisk", &redis.url()).await;
    // Not as the README says, but as some have it: it takes no writes while it cannot dump what it
    // holds (`stop-writes-on-bgsave-error`), and tries to every few seconds.
    redis::tell(&redis, "CONFIG SET save \"1 1\"").await;
    let dump = disk.path().join("dump.rdb");
    let full = async || {
        if disk.is_mounted() {
            disk.fill();
        } else {
            // The nearest thing: what stands in the place of the dump cannot be replaced.
            fs::remove_file(&dump).ok();
            fs::create_dir(&dump).expect("nothing else writes there");
        }
    };
    let right = async || {
        if disk.is_mounted() {
            disk.make_space();
        } else {
            fs::remove_dir(&dump).expect("it is there");
        }
    };
    refuse_writes(&pipeline, full, right).await;
}

/// Lets a Redis take no writes for a while, and then again.
async fn refuse_writes(pipeline: &Pipeline, full: impl AsyncFn(), right: impl AsyncFn()) {
    let (ingest, consumer, analytics) = tokio::join!(
        pipeline.start(Program::Ingest, &[]),
        pipeline.start(Program::Consumer, &[]),
        // Redis answers reads, and it must not matter how fast.
        pipeline.start(Program::Analytics, &[("ANALYTICS_REDIS_BUDGET", "10s")]),
    );
    let observer = Observer::start(pipeline, Some(&analytics));
    let load = Load::start(&ingest.url("/ads/click"), 2);
    load.until_accepted(50).await;
    until("redis is read", async || pipeline.redis_counts().await.is_some()).await;

    full().await;
    let refused = r#"consumer_projection_updates_total{outcome="failed"}"#;
    until("redis refuses writes", async || consumer.metric(refused).await >= 10.0).await;
    let now = load.accepted();
    until("what is accepted now is shown all the same", async || {
        let shown = pipeline.shown_by(&analytics).await;
        shown.is_some_and(|it| it.total(Kind::Click) >= now)
    })
    .await;
    right().await;
    load.until_accepted(50).await;
    let sent = load.stop().await;

    assert!(sent.other_answers().is_empty(), "clicks are accepted without redis");
    pipeline.check(&[sent], Some(&analytics)).await;
    assert!(observer.stop().await.compared > 0);
}

#[tokio::test]
async fn a_spool_with_a_full_disk_takes_no_click_and_keeps_those_that_it_took() {
    let disk = SmallDisk::new(1);
    let (_kafka, proxy) = kafka::start().await;
    let pipeline = Pipeline::on("faultspooldisk", kafka::stack_with(&proxy)).await;
    let directory = disk.path().join("spool").display().to_string();
    // Without a disk of its own, the limit of the spool itself is the nearest thing.
    let (max_bytes, reason) = if disk.is_mounted() { ("1GiB", "disk") } else { ("1MiB", "full") };
    let spool = [("SPOOL_DIR", directory.as_str()), ("SPOOL_MAX_BYTES", max_bytes)];
    let ingest = pipeline.start(Program::Ingest, &spool).await;
    let analytics = pipeline.start(Program::Analytics, &[]).await;
    let _consumer = pipeline.start(Program::Consumer, &[]).await;
    let observer = Observer::start(&pipeline, Some(&analytics));
    let players = Players { count: 16, ..Players::default() };
    let load = Load::of(players, &ingest.url("/ads/click"));
    let spooled = async || ingest.metric("ingest_spool_events").await;
    load.until_accepted(50).await;

    proxy.set(Link::BlackHole);
    until("clicks are spooled", async || spooled().await >= 50.0).await;
    if disk.is_mounted() {
        disk.fill();
        until_refused(&ingest, reason).await;
        disk.make_space();
        // Without a restart.
        load.until_accepted(50).await;
    }
    // Now the spool alone fills it. Emptying it takes no space.
    until_refused(&ingest, reason).await;
    if disk.is_mounted() {
        disk.fill();
    }
    proxy.set(Link::Pass);
    until("the spool is empty", async || spooled().await == 0.0).await;
    load.until_accepted(50).await;
    let sent = load.stop().await;

    assert!(sent.other_answers().contains(&503), "nobody was refused");
    pipeline.check(&[sent], Some(&analytics)).await;
    assert!(observer.stop().await.compared > 0);
}

async fn until_refused(ingest: &Service, reason: &str) {
    let refused = format!(r#"ingest_spool_refused_total{{reason="{reason}"}}"#);
    let before = ingest.metric(&refused).await;
    until("the spool refuses", async || ingest.metric(&refused).await >= before + 10.0).await;
}
