//! What SIGTERM does to what is in flight.

use local_stack::testing::stack;
use proto_schemas::Kind;
use reqwest::StatusCode;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::harness::{PATIENCE, TestIngest, event, records};

#[tokio::test]
async fn a_request_in_flight_is_answered_before_the_service_ends() {
    let scope = stack().scope("shutdown");
    let ingest = TestIngest::start(&scope, &[]).await;
    let body = event().to_string();
    let mut stream = TcpStream::connect(ingest.address).await.expect("connected");
    let head = format!(
        "POST /ads/click HTTP/1.1\r\nhost: ingest\r\ncontent-type: application/json\r\n\
         expect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    // It says so when it begins to read the body, so by then the request is in flight.
    let mut go_on = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
    let read = timeout(PATIENCE, stream.read_exact(&mut go_on));
    read.await.expect("in time").expect("readable");

    ingest.begin_shutdown();
    ingest.until("refusing", async |it| TcpStream::connect(it.address).await.is_err()).await;
    let (status, reasons) = ingest.readyz().await;
    assert_eq!((status, reasons.trim()), (StatusCode::SERVICE_UNAVAILABLE, "stopping"));
    stream.write_all(body.as_bytes()).await.expect("sent");

    let mut answer = String::new();
    let read = timeout(PATIENCE, stream.read_to_string(&mut answer));
    read.await.expect("in time").expect("readable");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    ingest.stopped().await.expect("a clean end");
    assert_eq!(records(&scope, Kind::Click, 1).await.len(), 1);
}

#[tokio::test]
async fn requests_are_served_on_for_the_delay_while_the_service_says_that_it_is_not_ready() {
    let scope = stack().scope("shutdowndelay");
    let ingest = TestIngest::start(&scope, &[("SHUTDOWN_DELAY", "3s")]).await;

    ingest.begin_shutdown();
    ingest.until("not ready", async |it| it.readyz().await.1.trim() == "stopping").await;
    let answer = ingest.post_click(&event()).await;

    assert_eq!(answer.status, StatusCode::OK);
    ingest.stopped().await.expect("a clean end");
    assert_eq!(records(&scope, Kind::Click, 1).await.len(), 1);
}

#[tokio::test]
async fn an_idle_service_ends_although_kafka_is_away() {
    let settings = [("KAFKA_BROKERS", "127.0.0.1:1"), ("INGEST_PRODUCE_TIMEOUT", "500ms")];
    let ingest = TestIngest::start_unready(&settings).await;
    assert_eq!(ingest.post_click(&event()).await.status, StatusCode::SERVICE_UNAVAILABLE);

    ingest.begin_shutdown();

    ingest.stopped().await.expect("a clean end");
}
