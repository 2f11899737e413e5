//! Bodies that are too long, too slow or broken.

use std::time::Duration;

use crate::harness::{MAX_BODY, Server, all_of, drip, limits, send, until};

#[tokio::test]
async fn a_body_that_arrives_slowly_is_answered_with_408() {
    let server = Server::start(limits()).await;
    let mut client = server.connect().await;

    send(&mut client, "POST /body HTTP/1.1\r\nhost: test\r\ncontent-length: 9\r\n\r\nhalf").await;

    let answer = all_of(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("body did not arrive within 200ms"), "{answer}");
}

#[tokio::test]
async fn a_client_that_sends_far_too_much_gets_a_413_and_no_reset() {
    let server = Server::start(limits()).await;
    let piece = "x".repeat(32 * 1024);
    let announced = "content-length: 524288\r\n\r\n";
    let chunked = "transfer-encoding: chunked\r\n\r\n80000\r\n";

    for rest in [announced, chunked] {
        let mut client = server.connect().await;
        send(&mut client, &format!("POST /body HTTP/1.1\r\nhost: test\r\n{rest}{piece}")).await;
        let answer = until(&mut client, "}").await;
        // A connection that was reset would refuse these.
        for _ in 0..15 {
            send(&mut client, &piece).await;
        }

        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
        assert!(answer.contains(r#""error":"body is larger than 4096 bytes""#), "{answer}");
        assert_eq!(all_of(&mut client).await, "");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_it_is_asked_for() {
    let server = Server::start(limits()).await;
    let mut client = server.connect().await;

    let head = "POST /body HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\n";
    send(&mut client, &format!("{head}content-length: 4097\r\n\r\n")).await;

    let answer = until(&mut client, "}").await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn a_body_of_just_the_limit_is_read() {
    let server = Server::start(limits()).await;
    let mut client = server.connect().await;
    let body = format!("{}end", "x".repeat(MAX_BODY - 3));

    let head = format!("POST /body HTTP/1.1\r\nhost: test\r\ncontent-length: {MAX_BODY}\r\n\r\n");
    send(&mut client, &format!("{head}{body}")).await;

    assert!(until(&mut client, "end").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_body_with_broken_chunks_is_told_from_one_that_is_too_large() {
    let server = Server::start(limits()).await;
    let mut client = server.connect().await;

    let head = "POST /body HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n";
    send(&mut client, &format!("{head}zz\r\n")).await;

    assert!(until(&mut client, "}").await.starts_with("HTTP/1.1 400"));
}

#[tokio::test]
async fn a_body_that_drips_is_answered_with_408_while_others_are_served() {
    let server = Server::start(limits()).await;
    let mut client = server.connect().await;

    send(&mut client, "POST /body HTTP/1.1\r\nhost: test\r\ncontent-length: 1000\r\n\r\n").await;
    let ((), answer) = tokio::join!(
        async {
            for _ in 0..10 {
                server.serves().await;
            }
        },
        async {
            drip(&mut client, &"x".repeat(100), Duration::from_millis(10)).await;
            all_of(&mut client).await
        }
    );

    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
}
