//! Row 17: all faults at random; `make chaos` is the long form.

use std::time::Duration;

use e2e::chaos::Chaos;

#[tokio::test]
async fn a_minute_of_chaos_loses_nothing_and_counts_nothing_twice() {
    let chaos = Chaos { seed: 17, lasting: Duration::from_mins(1) };

    let survived = chaos.run().await;

    assert!(survived.faults.values().sum::<u32>() >= 10, "{survived}");
    assert!(survived.accepted > 1_000, "{survived}");
}
