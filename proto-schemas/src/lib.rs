//! What travels on Kafka: the event, its topics, record key and headers. Knows no service.

pub mod dedup;
mod event;
pub mod headers;
mod ids;
mod time;
pub mod topics;

pub use crate::{
    dedup::{DedupKey, DedupSecret, DedupTime, DedupWindow},
    event::{AdEvent, InvalidEvent, KeptAddress, Kind, MAX_PLAYBACK_MS, NewEvent},
    ids::{AdId, EventId, InvalidEventId, UserAgent},
    time::Timestamp,
    topics::Topics,
};

/// The generated types, as they are on the wire.
mod wire {
    #![allow(clippy::pedantic, unreachable_pub, reason = "written by prost-build")]
    include!(concat!(env!("OUT_DIR"), "/ads.events.v1.rs"));
}

/// The schema as a serialised `google.protobuf.FileDescriptorSet`, for readers that load it at run
/// time. The same bytes stand in `ad_event.binpb` at the root of this crate.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/ad_event.binpb"));
