//! Row 10: Postgres restored from an earlier backup, behind Kafka and Redis.

use e2e::{Load, Pipeline, postgres};
use local_stack::testing::{TestStack, stack};

#[tokio::test]
async fn a_postgres_restored_from_a_backup_counts_anew_what_it_has_forgotten() {
    let mut postgres = postgres::start().await;
    let stack = TestStack { database_url: postgres.url(), ..stack() };
    let pipeline = Pipeline::on("faultrestored", stack).await;
    let services = pipeline.start_all().await;
    let load = Load::start(&services.ingest.url("/ads/click"), 2);
    load.until_accepted(100).await;
    pipeline.until_counted(50).await;

    postgres.stop().await;
    let backup = postgres::Backup::of(&postgres);
    postgres.restart().await.expect("postgres starts again");
    load.until_accepted(200).await;
    let ahead = i64::try_from(load.accepted()).expect("few");
    pipeline.until_counted(ahead).await;

    postgres.stop().await;
    backup.restore(&postgres);
    postgres.restart().await.expect("postgres starts with the backup");
    assert!(pipeline.counted().await < ahead, "the backup is older");
    // What the runbook asks for: what Redis holds is of another past.
    assert_eq!(pipeline.adctl(&["epoch", "renew"]).exit_code().await, 0);
    load.until_accepted(50).await;
    let sent = load.stop().await;

    pipeline.check(&[sent], Some(&services.analytics)).await;
}
