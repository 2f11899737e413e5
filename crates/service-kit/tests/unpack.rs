//! What bodies cost that unpack to far more than they may. Alone in its process, because it measures it.
#![cfg(target_os = "linux")]

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use flate2::Compression;
use flate2::write::GzEncoder;
use service_kit::http::{BodyError, read_body};

const MAX_BODY: usize = 256 * 1024;

/// More than one bomb at a time may take: its window, what came out of it so far, and tables.
const MEMORY_KIB: u64 = 4 * 1024;

/// 64 MiB of zeros, in three parts of 16 MiB and more.
const BROTLI: [u8; 52] = *b"\xcf\xff\xff\x7f\x00$\x00\xe2\xb1@r\xef\xff\xf9\xff\xff\x0f\x80\x04@\x1c\
    \x16\x80\xee\xfd?\xff\xff\xff\x01\x90\x00\x88\xc3\x02\xd0\xbd\xff\xe7\xff\xff?\x00\x12\x00qX\x00\
    \xba\xf7\xff\x03";

/// 64 MiB of zeros in a frame that asks for a window of 128 MiB.
fn zstd() -> Vec<u8> {
    const BLOCK: u32 = 128 * 1024;
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 17 << 3];
    for block in 0..512 {
        let (last, is_one_byte_repeated) = (u32::from(block == 511), 1 << 1);
        frame.extend(&(last | is_one_byte_repeated | BLOCK << 3).to_le_bytes()[..3]);
        frame.push(0);
    }
    frame
}

/// 64 MiB of zeros.
fn gzip() -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), 64 << 20), &mut encoder)
        .expect("packed");
    encoder.finish().expect("packed")
}

fn most_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find_map(|it| it.strip_prefix("VmHWM:")).expect("a high-water mark");
    line.trim_end_matches("kB").trim().parse().expect("a number")
}

#[tokio::test]
async fn bombs_of_every_kind_take_little_memory() {
    let bombs = [("gzip", gzip()), ("br", BROTLI.to_vec()), ("zstd", zstd())];
    let before = most_memory_kib();

    for (coding, bomb) in bombs {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
        for _ in 0..20 {
            let body = Body::from(bomb.clone());
            let read = read_body(&headers, body, MAX_BODY, Duration::from_mins(1)).await;
            assert!(matches!(read, Err(BodyError::TooLarge { .. })), "{coding}: {read:?}");
        }
        let grown = most_memory_kib() - before;
        assert!(grown < MEMORY_KIB, "{coding}: {grown} KiB");
    }
}
