//! Several consumers of one group.

use std::collections::BTreeSet;

use e2e::{Load, Pipeline, Program, Service, until};
use proto_schemas::{Kind, topics::PARTITIONS};

#[tokio::test]
async fn two_consumers_share_the_partitions_and_nothing_is_lost_when_one_leaves() {
    let pipeline = Pipeline::new("sharing").await;
    let services = pipeline.start_all().await;
    let (staying, mut leaving) = (services.consumer, pipeline.start(Program::Consumer, &[]).await);
    let load = Load::start(&services.ingest.url("/ads/click"), 4);

    until("both consumers read some of the partitions", async || {
        let (one, other) = (reading(&staying).await, reading(&leaving).await);
        one > 0.0 && other > 0.0 && (one + other).eq(&all_partitions())
    })
    .await;
    load.until_accepted(200).await;
    until("both consumers have counted", async || {
        stored(&staying).await > 0.0 && stored(&leaving).await > 0.0
    })
    .await;
    leaving.terminate();
    assert_eq!(leaving.exit_code().await, 0);
    until("the other reads all partitions", async || reading(&staying).await.eq(&all_partitions()))
        .await;
    load.until_accepted(200).await;
    let sent = load.stop().await;

    assert_eq!(sent.other_answers(), BTreeSet::new());
    let counts = pipeline.settle_with_api(&services.analytics).await;
    assert_eq!(counts.total(Kind::Click), sent.outcomes.len() as u64);
    assert_eq!(pipeline.stored_event_ids().await, sent.accepted());
}

async fn reading(consumer: &Service) -> f64 {
    consumer.metric(r#"consumer_partitions{stage="reading"}"#).await
}

async fn stored(consumer: &Service) -> f64 {
    consumer.metric(r#"consumer_records_total{kind="click",outcome="stored"}"#).await
}

/// Of both topics.
fn all_partitions() -> f64 {
    2.0 * f64::from(PARTITIONS)
}
