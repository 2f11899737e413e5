//! Heads that are too long, and shapes that have smuggled requests through other servers.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::harness::{SOON, Server, all_of, get_request, limits, send};

/// Sends a POST with these headers and this body, and behind it another request. Returns the status
/// of every answer until the server, or the client after its last byte, has closed.
async fn answers(server: &Server, rest: &str) -> Vec<String> {
    let mut client = server.connect().await;
    let behind = get_request("/peer");
    send(&mut client, &format!("POST /body HTTP/1.1\r\nhost: test\r\n{rest}{behind}")).await;
    client.shutdown().await.ok();
    let mut bytes = Vec::new();
    timeout(SOON, client.read_to_end(&mut bytes)).await.expect("closed in time").expect("read");
    let text = String::from_utf8_lossy(&bytes);
    let status = |at: usize| text[at + 9..at + 12].to_owned();
    text.match_indices("HTTP/1.1 ").map(|(at, _)| status(at)).collect()
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let server = Server::start(limits()).await;
    let mut client = server.connect().await;

    send(&mut client, &get_request(&format!("/{}", "x".repeat(40_000)))).await;

    assert!(all_of(&mut client).await.starts_with("HTTP/1.1 431"));
}

#[tokio::test]
async fn too_many_headers_are_refused() {
    let server = Server::start(limits()).await;

    for (count, status) in [(99, "200"), (100, "431")] {
        let mut client = server.connect().await;
        let more = "x-more: 1\r\n".repeat(count);
        send(&mut client, &format!("GET /peer HTTP/1.1\r\nhost: test\r\n{more}\r\n")).await;
        client.shutdown().await.expect("half closed");

        assert!(all_of(&mut client).await.starts_with(&format!("HTTP/1.1 {status}")), "{count}");
    }
}

#[tokio::test]
async fn what_is_behind_an_unclear_head_is_never_taken_for_a_request() {
    let server = Server::start(limits()).await;
    let chunked = "transfer-encoding: chunked\r\n";

    for rest in [
        "content-length: 5\r\ncontent-length: 6\r\n\r\n12345".to_owned(),
        "content-length: 5, 5\r\n\r\n12345".to_owned(),
        "content-length: +5\r\n\r\n12345".to_owned(),
        "content-length: -5\r\n\r\n12345".to_owned(),
        "content-length: 0x5\r\n\r\n12345".to_owned(),
        "content-length: 5 5\r\n\r\n12345".to_owned(),
        "content-length: \r\n\r\n12345".to_owned(),
        "content-length: 18446744073709551616\r\n\r\n12345".to_owned(),
        // A line that is folded, as was allowed once.
        "x-a: 1\r\n content-length: 5\r\n\r\n12345".to_owned(),
        "transfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n".to_owned(),
        // Space where there must be none.
        "content-length : 5\r\n\r\n12345".to_owned(),
        " content-length: 5\r\n\r\n12345".to_owned(),
        "transfer-encoding\t: chunked\r\n\r\n0\r\n\r\n".to_owned(),
        // Characters that end a line, or a string, for some.
        "x-a: 1\rcontent-length: 5\r\n\r\n12345".to_owned(),
        "x-a: 1\0\r\ncontent-length: 5\r\n\r\n12345".to_owned(),
        // Codings other than chunked, once.
        "transfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n".to_owned(),
        "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n".to_owned(),
        "transfer-encoding: identity\r\n\r\n0\r\n\r\n".to_owned(),
        "transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n".to_owned(),
        "transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n".to_owned(),
        format!("{chunked}transfer-encoding: identity\r\n\r\n0\r\n\r\n"),
        format!("{chunked}{chunked}\r\n0\r\n\r\n"),
    ] {
        assert_eq!(answers(&server, &rest).await, ["400"], "{rest:?}");
    }
}

#[tokio::test]
async fn what_is_behind_broken_chunks_is_never_taken_for_a_request() {
    let server = Server::start(limits()).await;
    let long = "x".repeat(20_000);

    for body in [
        "-1\r\n12345\r\n0\r\n\r\n",
        "0x5\r\n12345\r\n0\r\n\r\n",
        "fffffffffffffffff\r\n12345\r\n0\r\n\r\n",
        "10000000000000005\r\n12345\r\n0\r\n\r\n",
        "3\r\n12345\r\n0\r\n\r\n",
        "5\n12345\r\n0\r\n\r\n",
        "5;\n12345\r\n0\r\n\r\n",
        "5\r\n12345\n0\r\n\r\n",
        "\r\n12345\r\n0\r\n\r\n",
        "g\r\n12345\r\n0\r\n\r\n",
        &format!("5;{long}\r\n12345\r\n0\r\n\r\n"),
        &format!("0\r\n{}\r\n", "x: y\r\n".repeat(1000)),
    ] {
        let rest = format!("transfer-encoding: chunked\r\n\r\n{body}");
        assert_eq!(answers(&server, &rest).await, ["400"], "{body:.50}");
    }
}

#[tokio::test]
async fn where_both_say_how_long_a_body_is_the_chunks_do_and_nothing_behind_them_is_believed() {
    let server = Server::start(limits()).await;
    let (length, chunked) = ("content-length: 5\r\n", "transfer-encoding: chunked\r\n");

    for head in [format!("{length}{chunked}"), format!("{chunked}{length}")] {
        assert_eq!(answers(&server, &format!("{head}\r\n0\r\n\r\n")).await, ["200"], "{head}");
        assert_eq!(answers(&server, &format!("{head}\r\n12345")).await, ["400"], "{head}");
    }
}

#[tokio::test]
async fn what_leaves_no_doubt_is_read_to_its_end_and_the_next_request_is_answered() {
    let server = Server::start(limits()).await;

    for rest in [
        "content-length: 5\r\n\r\n12345",
        "content-length: 5\r\ncontent-length: 5\r\n\r\n12345",
        "transfer-encoding: CHUNKED\r\n\r\n5\r\n12345\r\n0\r\n\r\n",
        // RFC 9112 allows a server to take a bare line feed for the end of a line, and to have no
        // doubt about it is what matters.
        "content-length: 5\n\n12345",
    ] {
        assert_eq!(answers(&server, rest).await, ["200", "200"], "{rest:?}");
    }
}
