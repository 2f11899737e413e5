//! `adctl rebuild` while a consumer counts.

use crate::counting::Counting;

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_written_anew_while_counting_goes_on() {
    let counting = Counting::with_clicks("rebuildRedis", 10).await;
    counting.falsify_redis(|totals| totals.events[0].1 += 90).await;

    let rebuild = counting.test.adctl(&["rebuild", "redis"]);
    let (said, ()) = tokio::join!(rebuild, counting.click(10..300));

    assert!(said.success().starts_with("2 partitions are written anew"), "{said:?}");
    counting.settle(300).await;
    counting.test.adctl(&["audit"]).await.success();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_consumer_it_says_that_nobody_writes_redis() {
    let mut counting = Counting::with_clicks("rebuildAlone", 1).await;
    counting.stop().await;

    let said = counting.test.adctl(&["rebuild", "redis", "--time-limit", "1s"]).await;

    assert!(said.failure().contains("none of 2 partitions was written within 1s"), "{said:?}");
    assert!(said.err.contains("is a click-consumer running"), "{said:?}");
    // It is done once somebody does.
    counting.start();
    counting.settle(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn totals_are_corrected_while_counting_goes_on() {
    let counting = Counting::with_clicks("rebuildTotals", 10).await;
    counting
        .execute(
            "UPDATE ad_totals SET events = events + 90;
             UPDATE partition_ledger SET stored = stored - 4 WHERE stored > 0",
        )
        .await;

    let rebuild = counting.test.adctl(&["rebuild", "totals"]);
    let (said, ()) = tokio::join!(rebuild, counting.click(10..300));

    assert!(said.success().contains("ad 7, total -90"), "{said:?}");
    assert!(said.out.contains("ledger, stored +4"), "{said:?}");
    counting.settle(300).await;
    counting.test.adctl(&["audit"]).await.success();
    let again = counting.test.adctl(&["rebuild", "totals"]).await;
    assert!(again.success().starts_with("nothing to correct"), "{again:?}");
}
