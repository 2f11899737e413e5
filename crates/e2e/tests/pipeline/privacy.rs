//! Where a viewer's address must not be.

use std::net::Ipv4Addr;

use e2e::{Answer, Client, Pipeline, Program, click};
use reqwest::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
};

/// Where the requests come from, by the network, by a proxy's word and by the sender's own.
const PEER: Ipv4Addr = Ipv4Addr::new(127, 98, 76, 54);
const FORWARDED: &str = "203.0.113.77";
const CLAIMED: &str = "198.51.100.88";

#[tokio::test]
async fn no_address_is_in_any_log_or_metric_whatever_goes_wrong() {
    let pipeline = Pipeline::new("privatelogs").await;
    let loud = ("LOG_LEVEL", "debug");
    let settings = [
        loud,
        ("TRUSTED_SENDERS", ""),
        ("TRUSTED_PROXIES", "127.0.0.0/8"),
        ("RATE_LIMIT_PER_MINUTE", "1"),
        ("INGEST_BODY_TIMEOUT", "200ms"),
        ("INGEST_HEADER_TIMEOUT", "500ms"),
    ];
    let ingest = pipeline.start(Program::Ingest, &settings).await;
    let consumer = pipeline.start(Program::Consumer, &[loud]).await;
    let analytics = pipeline.start(Program::Analytics, &[loud]).await;
    let http = Client::at(PEER);
    let post = async |path: &str, forwarded: &str, body: String| {
        let request = http.request(Method::POST, &ingest.url(path));
        let request = request.header("content-type", "application/json").body(body);
        Answer::to(request.header("x-forwarded-for", forwarded)).await.status
    };

    // Kept, one of them with a word about an address that does not count, and one that is counted as
    // a dead letter.
    let mut claimed = click(1, "claimed");
    claimed["ip"] = json!(CLAIMED);
    for event in [click(1, "kept"), claimed, click(999, "dead")] {
        assert_eq!(post("/ads/impression", FORWARDED, event.to_string()).await, 200);
    }
    // Refused, for each reason there is.
    let mut bad_ip = click(1, "bad");
    bad_ip["ip"] = json!(format!("{CLAIMED}/24"));
    for (status, body) in [
        (400, bad_ip.to_string()),
        (400, format!("{{{CLAIMED}")),
        (413, format!("{}{CLAIMED}", " ".repeat(5000))),
    ] {
        assert_eq!(post("/ads/impression", FORWARDED, body).await, status);
    }
    let mut statuses = Vec::new();
    for n in 0..12 {
        let event = click(1, &n.to_string()).to_string();
        statuses.push(post("/ads/click", FORWARDED, event).await);
    }
    assert!(statuses.contains(&429), "{statuses:?}");
    // A proxy whose list makes no sense, and clients that do not speak HTTP, or stop in the middle.
    let garbled = format!("{FORWARDED}:x, {CLAIMED}.9");
    assert_eq!(post("/ads/impression", &garbled, click(1, "garbled").to_string()).await, 200);
    for begun in [
        format!("POST {FORWARDED}\r\n\r\n"),
        format!("POST /ads/click HTTP/1.1\r\nx-forwarded-for: {FORWARDED}\r\n"),
        format!(
            "POST /ads/click HTTP/1.1\r\nhost: a\r\nx-forwarded-for: {FORWARDED}\r\n\
             content-type: text/plain\r\ncontent-length: 100\r\n\r\n{{\"ip\":\"{CLAIMED}\""
        ),
    ] {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((PEER, 0).into()).expect("an address of this machine");
        let mut stream = socket.connect(ingest.address()).await.expect("connected");
        stream.write_all(begun.as_bytes()).await.expect("sent");
        // Whatever it says, it closes the connection.
        stream.read_to_end(&mut Vec::new()).await.ok();
    }
    for path in ["/ads", "/ads/analytics", "/ads/1/vast.xml", "/nothing"] {
        let request = http.request(Method::GET, &analytics.url(path));
        Answer::to(request.header("x-forwarded-for", FORWARDED)).await;
    }
    e2e::until("the letter is counted", async || pipeline.dead_letters().await == 1).await;

    for service in [&ingest, &consumer, &analytics] {
        let (log, metrics) = (service.process().said(), service.metrics().await);
        assert!(log.contains("DEBUG"), "{log}");
        for address in [PEER.to_string().as_str(), FORWARDED, CLAIMED] {
            for (place, text) in [("the log", &log), ("the metrics", &metrics)] {
                let line = text.lines().find(|line| line.contains(address));
                assert_eq!(line, None, "{address} is in {place} of {service:?}");
            }
        }
    }
}
