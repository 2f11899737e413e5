//! Row 12: consumers that come and go all the time.

use std::time::Duration;

use e2e::{Load, Observer, Pipeline, Program, let_last};

/// Between two changes: shorter than it takes to share the partitions anew on a busy machine.
const EVERY: Duration = Duration::from_secs(3);

#[tokio::test]
async fn one_to_four_consumers_that_come_and_go_every_3_s_count_every_click_once() {
    let pipeline = Pipeline::new("faultrebalances").await;
    let ingest = pipeline.start(Program::Ingest, &[]).await;
    let analytics = pipeline.start(Program::Analytics, &[]).await;
    let mut consumers = vec![pipeline.start(Program::Consumer, &[]).await];
    let observer = Observer::start(&pipeline, Some(&analytics));
    let load = Load::start(&ingest.url("/ads/click"), 2);

    for wanted in [2, 4, 1, 3, 2, 4, 1] {
        while consumers.len() < wanted {
            consumers.push(pipeline.spawn(Program::Consumer, &[]));
        }
        // The oldest goes first, so that each is alone at some time.
        while consumers.len() > wanted {
            let mut leaving = consumers.remove(0);
            leaving.terminate();
            assert_eq!(leaving.exit_code().await, 0);
        }
        let_last(EVERY).await;
    }
    consumers[0].ready().await;
    load.until_accepted(50).await;
    let sent = load.stop().await;

    pipeline.check(&[sent], Some(&analytics)).await;
    assert!(observer.stop().await.compared > 0);
}
