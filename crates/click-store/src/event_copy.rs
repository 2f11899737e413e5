//! Events as the rows of a binary COPY.

use std::net::IpAddr;

use bytes::{BufMut, Bytes, BytesMut};
use proto_schemas::{EventId, Kind, Timestamp, UserAgent};

use crate::counting::Located;

/// Some of this size go out while the server is at work on those before.
const CHUNK_BYTES: usize = 32 * 1024;

/// No row is longer: its texts have 64 and 512 bytes at most.
const MAX_ROW_BYTES: usize = 1024;

/// Signature, flags, and the length of an extension that is not there.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// In place of a row's number of columns: no more rows.
const END: i16 = -1;

/// In place of a value's length: null.
const NULL: i32 = -1;

/// From 1970 to 2000, where Postgres begins to count.
const MICROS_TO_2000: i64 = 946_684_800_000_000;

/// Postgres' names for the two families of addresses, on whatever machine.
const INET: u8 = 2;
const INET6: u8 = 3;

macro_rules! copy_into {
    ($table:literal) => {
        concat!(
            "COPY ",
            $table,
            " (dedup_time, dedup_key, ad_id, occurred_at, received_at, address, playback_ms,
               event_id, user_agent, kafka_partition, kafka_offset) FROM STDIN (FORMAT binary)"
        )
    };
}

/// How many columns that names.
const COLUMNS: i16 = 11;

/// Copies into the table of `kind` what [`chunks`] makes.
pub(crate) fn copy_into(kind: Kind) -> &'static str {
    match kind {
        Kind::Click => copy_into!("clicks"),
        Kind::Impression => copy_into!("impressions"),
    }
}

/// The rows of `events`, one after the other, cut where it happens.
pub(crate) fn chunks<'a>(events: &'a [Located<'a>]) -> impl Iterator<Item = Bytes> + 'a {
    let mut rows = events.iter();
    let mut out = BytesMut::with_capacity(CHUNK_BYTES + MAX_ROW_BYTES);
    out.put_slice(HEADER);
    let mut ended = false;
    std::iter::from_fn(move || {
        while !ended && out.len() < CHUNK_BYTES {
            if let Some(event) = rows.next() {
                put_row(&mut out, event);
            } else {
                out.put_i16(END);
                ended = true;
            }
        }
        (!out.is_empty()).then(|| {
            let chunk = out.split().freeze();
            if !ended {
                out.reserve(CHUNK_BYTES + MAX_ROW_BYTES);
            }
            chunk
        })
    })
}

fn put_row(out: &mut BytesMut, &Located { event, partition, offset }: &Located<'_>) {
    out.put_i16(COLUMNS);
    put_time(out, event.dedup_time.timestamp());
    put(out, event.dedup_key.as_bytes());
    put_bigint(out, event.ad_id.as_i64());
    put_time(out, event.occurred_at);
    put_time(out, event.received_at);
    put_address(out, event.address);
    match event.playback_ms {
        Some(ms) => put_int(out, ms.cast_signed()),
        None => out.put_i32(NULL),
    }
    put_text(out, event.event_id.as_ref().map(EventId::as_str));
    put_text(out, event.user_agent.as_ref().map(UserAgent::as_str));
    put_int(out, partition);
    put_bigint(out, offset);
}

#[expect(clippy::cast_possible_wrap, clippy::cast_possible_truncation, reason = "600 at most")]
fn put(out: &mut BytesMut, value: &[u8]) {
    out.put_i32(value.len() as i32);
    out.put_slice(value);
}

fn put_int(out: &mut BytesMut, value: i32) {
    put(out, &value.to_be_bytes());
}

fn put_bigint(out: &mut BytesMut, value: i64) {
    put(out, &value.to_be_bytes());
}

fn put_time(out: &mut BytesMut, value: Timestamp) {
    put_bigint(out, value.as_micros() - MICROS_TO_2000);
}

fn put_text(out: &mut BytesMut, value: Option<&str>) {
    match value {
        Some(text) => put(out, text.as_bytes()),
        None => out.put_i32(NULL),
    }
}

fn put_address(out: &mut BytesMut, value: Option<IpAddr>) {
    let mut put_parts = |family, bits, address: &[u8]| {
        // Family, bits of the network, whether it is one (a `cidr`), bytes of the address.
        let [.., length] = address.len().to_be_bytes();
        out.put_i32(4 + i32::from(length));
        out.put_slice(&[family, bits, 0, length]);
        out.put_slice(address);
    };
    match value {
        Some(IpAddr::V4(it)) => put_parts(INET, 32, &it.octets()),
        Some(IpAddr::V6(it)) => put_parts(INET6, 128, &it.octets()),
        None => out.put_i32(NULL),
    }
}
