//! Row 5 with three brokers, of which two must have a record: disks are lost, and two go at once.

use std::collections::BTreeSet;

use e2e::{Load, Observer, Pipeline, Players, Program, click};
use local_stack::{
    kafka::Cluster,
    testing::{TestStack, stack},
};

#[tokio::test]
async fn three_brokers_lose_their_disks_in_turn_and_no_click_and_one_alone_takes_none() {
    let mut cluster = Cluster::start().await.expect("three brokers start");
    let stack = TestStack { kafka_brokers: cluster.brokers(), ..stack() };
    let pipeline = Pipeline::on("faultcluster", stack).await;
    let ingest = pipeline.start(Program::Ingest, &[]).await;
    let analytics = pipeline.start(Program::Analytics, &[]).await;
    let observer = Observer::start(&pipeline, Some(&analytics));
    let load = Load::of(Players::persistent(), &ingest.url("/ads/click"));

    // Nobody counts yet: what is accepted is on the disks of the brokers and nowhere else.
    for broker in 0..3 {
        load.until_accepted(100).await;
        cluster.lose_disk(broker).expect("its folder is removed");
        load.until_accepted(100).await;
        cluster.restart(broker).await.expect("it starts without anything");
        pipeline
            .until_partitions("replicas are in sync", |it| it.isr().len() == it.replicas().len())
            .await;
    }
    let _consumer = pipeline.start(Program::Consumer, &[]).await;
    load.until_accepted(100).await;

    cluster.kill(0);
    cluster.kill(1);
    pipeline.until_partitions("the third is alone", |it| it.leader() == 3 && it.isr() == [3]).await;
    let refused = pipeline.http.post(&ingest.url("/ads/click"), &click(1, "refused")).await;
    for broker in [0, 1] {
        cluster.restart(broker).await.expect("it starts again");
    }
    load.until_accepted(100).await;
    let mut sent = load.stop().await;

    assert_eq!((refused.status, refused.error_code().as_str()), (503, "unavailable"));
    assert!(sent.other_answers().is_subset(&BTreeSet::from([503])));
    sent.outcomes.insert("refused".to_owned(), Some(refused.status));
    pipeline.check(&[sent], Some(&analytics)).await;
    assert!(observer.stop().await.compared > 0);
}
