//! The service stops in good order.

use reqwest::StatusCode;

use crate::{harness::TestAnalytics, stores::Stores};

#[tokio::test]
async fn a_request_in_flight_is_answered_before_the_service_stops() {
    let stores = Stores::counted("inflight").await;
    stores.flush_redis().await;
    let settings = [("ANALYTICS_POSTGRES_TIMEOUT", "30s"), ("SHUTDOWN_TIMEOUT", "30s")];
    let analytics = TestAnalytics::start_with(&stores, &settings).await;
    let (client, connection) = stores.connect().await;

    let conversation = async move {
        client.batch_execute("BEGIN; LOCK TABLE ad_totals IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let answer = analytics.analytics();
        let stopping = async {
            analytics.until("waiting for the lock", async |_| stores.somebody_waits().await).await;
            analytics.begin_shutdown();
            let stopping = async |it: &TestAnalytics| it.readyz().await.1.contains("stopping");
            analytics.until("not ready", stopping).await;
            client.batch_execute("ROLLBACK").await.unwrap();
        };
        let (answer, ()) = tokio::join!(answer, stopping);

        assert_eq!(answer.status, StatusCode::OK);
        analytics.stopped().await.unwrap();
    };
    tokio::join!(conversation, connection);
}
