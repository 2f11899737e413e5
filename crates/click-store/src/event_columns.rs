//! Events turned from rows into columns: one array for each, so that one statement carries a batch.
//!
//! For where a plain COPY cannot do it: measured against one through a temporary table, arrays are faster
//! at every batch size.

use std::{net::IpAddr, time::SystemTime};

use proto_schemas::{EventId, Kind, Timestamp, UserAgent};
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::counting::Located;

macro_rules! insert_into {
    ($table:literal) => {
        concat!(
            "WITH new AS (
                 INSERT INTO ",
            $table,
            " (dedup_time, dedup_key, ad_id, occurred_at, received_at, address, playback_ms,
                  event_id, user_agent, kafka_partition, kafka_offset)
                 SELECT * FROM unnest($1::timestamptz[], $2::uuid[], $3::bigint[],
                     $4::timestamptz[], $5::timestamptz[], $6::inet[], $7::int[], $8::text[],
                     $9::text[], $10::int[], $11::bigint[])
                 ON CONFLICT DO NOTHING
                 RETURNING kafka_partition, ad_id
             )
             SELECT kafka_partition, ad_id, count(*) FROM new
             GROUP BY kafka_partition, ad_id ORDER BY kafka_partition, ad_id"
        )
    };
}

macro_rules! select_from {
    ($table:literal) => {
        concat!(
            "SELECT dedup_key FROM ",
            $table,
            " JOIN unnest($1::timestamptz[], $2::uuid[]) AS w(dedup_time, dedup_key)
                  USING (dedup_time, dedup_key)"
        )
    };
}

/// The columns of an event table.
#[derive(Debug, Default)]
pub(crate) struct EventColumns<'a> {
    dedup_time: Vec<SystemTime>,
    dedup_key: Vec<Uuid>,
    ad_id: Vec<i64>,
    occurred_at: Vec<SystemTime>,
    received_at: Vec<SystemTime>,
    address: Vec<Option<IpAddr>>,
    playback_ms: Vec<Option<i32>>,
    event_id: Vec<Option<&'a str>>,
    user_agent: Vec<Option<&'a str>>,
    kafka_partition: Vec<i32>,
    kafka_offset: Vec<i64>,
}

impl<'a> From<&[Located<'a>]> for EventColumns<'a> {
    fn from(rows: &[Located<'a>]) -> Self {
        let events = || rows.iter().map(|it| it.event);
        let times = |of: fn(&proto_schemas::AdEvent) -> Timestamp| {
            events().map(|it| SystemTime::from(of(it))).collect()
        };
        Self {
            dedup_time: times(|it| it.dedup_time.timestamp()),
            dedup_key: events().map(|it| Uuid::from_bytes(*it.dedup_key.as_bytes())).collect(),
            ad_id: events().map(|it| it.ad_id.as_i64()).collect(),
            occurred_at: times(|it| it.occurred_at),
            received_at: times(|it| it.received_at),
            address: events().map(|it| it.address).collect(),
            playback_ms: events().map(|it| it.playback_ms.map(u32::cast_signed)).collect(),
            event_id: events().map(|it| it.event_id.as_ref().map(EventId::as_str)).collect(),
            user_agent: events().map(|it| it.user_agent.as_ref().map(UserAgent::as_str)).collect(),
            kafka_partition: rows.iter().map(|it| it.partition).collect(),
            kafka_offset: rows.iter().map(|it| it.offset).collect(),
        }
    }
}

impl EventColumns<'_> {
    /// Inserts what is new into the table of `kind`, and counts it by partition and ad.
    pub(crate) fn insert_into(kind: Kind) -> &'static str {
        match kind {
            Kind::Click => insert_into!("clicks"),
            Kind::Impression => insert_into!("impressions"),
        }
    }

    /// Selects the keys of those that are in the table of `kind`.
    pub(crate) fn select_from(kind: Kind) -> &'static str {
        match kind {
            Kind::Click => select_from!("clicks"),
            Kind::Impression => select_from!("impressions"),
        }
    }

    /// The parameters of that statement, in order.
    pub(crate) fn key(&self) -> [&(dyn ToSql + Sync); 2] {
        [&self.dedup_time, &self.dedup_key]
    }

    /// The parameters of [`EventColumns::insert_into`], in order.
    pub(crate) fn parameters(&self) -> [&(dyn ToSql + Sync); 11] {
        [
            &self.dedup_time,
            &self.dedup_key,
            &self.ad_id,
            &self.occurred_at,
            &self.received_at,
            &self.address,
            &self.playback_ms,
            &self.event_id,
            &self.user_agent,
            &self.kafka_partition,
            &self.kafka_offset,
        ]
    }
}
