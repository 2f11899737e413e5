//! What a data team finds on the topics is what Postgres has.

use std::collections::BTreeSet;

use e2e::{Counts, Pipeline, Sample};
use proto_schemas::Kind;

#[tokio::test]
async fn the_topics_without_their_duplicates_hold_what_postgres_holds() {
    let sample = Sample::read();
    let pipeline = Pipeline::new("topics").await;
    let services = pipeline.start_all().await;

    // Two at once: every event is on its topic twice.
    let replays = [(); 2].map(|()| pipeline.replay(&sample, &services.ingest, &[]));
    for replay in replays {
        assert_eq!(replay.exit_code().await, 0);
    }
    assert_eq!(pipeline.settle().await, sample.counts);

    let mut counts = Counts::zero();
    for kind in Kind::ALL {
        let mut keys = BTreeSet::new();
        let events = pipeline.on_topic(kind).await;
        for event in &events {
            assert_eq!(event.kind, kind);
            if keys.insert(event.dedup_key.to_string()) {
                counts.add(kind, event.ad_id.get(), 1);
            }
        }
        assert!(events.len() >= 2 * keys.len(), "each was posted twice");
        assert_eq!(keys, pipeline.stored_keys(kind).await);
    }
    assert_eq!(counts, sample.counts);
}
