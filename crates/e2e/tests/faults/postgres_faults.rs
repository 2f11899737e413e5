//! Row 7: Postgres crashes, and one of its backends is killed during COMMIT.

use e2e::{Load, Observer, Pipeline, postgres, until};
use local_stack::testing::{TestStack, stack};

#[tokio::test]
async fn a_postgres_that_crashes_under_load_loses_and_doubles_nothing() {
    let mut postgres = postgres::start().await;
    let stack = TestStack { database_url: postgres.url(), ..stack() };
    let pipeline = Pipeline::on("faultpostgres", stack).await;
    let services = pipeline.start_all().await;
    let analytics = &services.analytics;
    let observer = Observer::start(&pipeline, Some(analytics));
    let load = Load::start(&services.ingest.url("/ads/click"), 2);
    load.until_accepted(100).await;

    // As `pg_ctl stop -m immediate` does, and then as the kernel does where memory is short.
    postgres::crash(&mut postgres).await;
    load.until_accepted(50).await;
    postgres.restart().await.expect("postgres recovers");
    load.until_accepted(100).await;
    postgres.kill();
    load.until_accepted(50).await;
    postgres.restart().await.expect("postgres recovers");
    load.until_accepted(50).await;
    let sent = load.stop().await;

    assert_eq!(sent.other_answers().len(), 0, "clicks are accepted without postgres");
    pipeline.check(&[sent], Some(analytics)).await;
    assert!(observer.stop().await.compared > 0);
}

#[tokio::test]
async fn a_backend_killed_during_commit_leaves_no_click_lost_or_doubled() {
    /// Waits for a standby that never comes: it has committed here, and nobody knows yet.
    const IN_COMMIT: &str = "
        SELECT count(*) FROM pg_stat_activity
        WHERE application_name = 'click-consumer' AND wait_event = 'SyncRep'";
    const KILL: &str = "
        SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE application_name = 'click-consumer' AND wait_event = 'SyncRep'";
    let postgres = postgres::start().await;
    let stack = TestStack { database_url: postgres.url(), ..stack() };
    let pipeline = Pipeline::on("faultbackend", stack).await;
    let services = pipeline.start_all().await;
    let observer = Observer::start(&pipeline, Some(&services.analytics));
    let load = Load::start(&services.ingest.url("/ads/click"), 2);
    load.until_accepted(50).await;

    let in_doubt =
        async || services.consumer.metric("consumer_transactions_in_doubt_total").await >= 3.0;
    for round in 0.. {
        if in_doubt().await {
            break;
        }
        // A round may hit another COMMIT of the consumer's, such as that of a new day.
        assert!(round < 20, "no COMMIT of a batch was hit");
        pipeline.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await;
        pipeline.execute("SELECT pg_reload_conf()").await;
        until("a COMMIT is under way", async || pipeline.number(IN_COMMIT).await > 0).await;
        assert!(pipeline.number(KILL).await > 0);
        pipeline.execute("ALTER SYSTEM RESET synchronous_standby_names").await;
        pipeline.execute("SELECT pg_reload_conf()").await;
        load.until_accepted(50).await;
    }
    let sent = load.stop().await;

    pipeline.check(&[sent], Some(&services.analytics)).await;
    assert!(observer.stop().await.compared > 0);
}
