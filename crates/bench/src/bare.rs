//! What services are measured against: a bare route, with or without a bare Kafka producer behind it.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    routing::{get, post},
};
use bytes::Bytes;
use clap::Args;
use proto_schemas::AdEvent;
use rdkafka::{
    ClientConfig,
    producer::{FutureProducer, FutureRecord},
};
use serde::{Deserialize, Serialize};
use service_kit::{http, traces::TraceContext};
use time::OffsetDateTime;

use crate::{clicks::Clicks, rows::ingest::ADS, topic};

/// How long ingest's producer waits for more records before it sends some, and so this one.
pub(crate) const LINGER: Duration = Duration::from_millis(5);

/// Which bare route, and where.
#[derive(Args, Debug)]
pub(crate) struct Bare {
    #[arg(long)]
    listen: SocketAddr,
    /// Produces a record for each POST, and waits until it is acknowledged
    #[arg(long, requires = "topic")]
    brokers: Option<String>,
    #[arg(long)]
    topic: Option<String>,
    /// Answers every GET with the bytes of this file
    #[arg(long)]
    file: Option<PathBuf>,
}

/// The fields of a click, read by serde and checked by nobody.
#[derive(Deserialize)]
struct Click {
    ad_id: u64,
    #[serde(with = "time::serde::rfc3339")]
    timestamp: OffsetDateTime,
    event_id: Option<String>,
    playback_time: Option<f64>,
}

#[derive(Serialize)]
struct Received {
    message: &'static str,
    click_id: String,
}

impl Bare {
    /// Serves until it is killed.
    pub(crate) async fn serve(self) -> anyhow::Result<()> {
        let listener = http::listen(self.listen).await?;
        let router = match (self.brokers, self.topic, self.file) {
            (Some(brokers), Some(topic), _) => {
                let loop_ = Arc::new(ProduceLoop::new(&brokers, topic)?);
                Router::new().route("/ads/click", post(produced).with_state(loop_))
            }
            (_, _, Some(file)) => {
                let bytes = Bytes::from(std::fs::read(file).context("the answer")?);
                let answer =
                    async move || ([(header::CONTENT_TYPE, "application/json")], bytes.clone());
                Router::new().route("/ads/analytics", get(answer))
            }
            _ => Router::new().route("/ads/click", post(parsed)),
        };
        axum::serve(listener, router).await?;
        Ok(())
    }
}

async fn parsed(Json(click): Json<Click>) -> Json<Received> {
    received(&click)
}

async fn produced(
    State(kafka): State<Arc<ProduceLoop>>,
    Json(click): Json<Click>,
) -> Result<Json<Received>, StatusCode> {
    kafka.produce().await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    Ok(received(&click))
}

fn received(click: &Click) -> Json<Received> {
    // Everything that was parsed is used, so that none of it is left out by the compiler.
    let id = u128::from(click.ad_id)
        ^ click.timestamp.unix_timestamp_nanos().cast_unsigned()
        ^ u128::from(click.playback_time.unwrap_or_default().to_bits())
        ^ click.event_id.as_ref().map_or(0, |it| it.len() as u128);
    Json(Received { message: "Click received", click_id: format!("{id:032x}") })
}

/// Records that are like clicks, sent with the settings that promise the same.
pub(crate) struct ProduceLoop {
    producer: FutureProducer,
    topic: String,
    /// Different ones, as equal ones would be compressed to nearly nothing.
    records: Vec<Record>,
    next: AtomicUsize,
}

/// What ingest makes of a click.
struct Record {
    event: AdEvent,
    value: Vec<u8>,
    traceparent: String,
}

/// More than one batch of Kafka's holds.
const RECORDS: usize = 4096;

impl ProduceLoop {
    pub(crate) fn new(brokers: &str, topic: String) -> anyhow::Result<Self> {
        let mut clicks = Clicks::new(ADS, 0);
        let record = |event: AdEvent| Record {
            value: event.encode(),
            event,
            traceparent: TraceContext::new_root().traceparent().to_owned(),
        };
        let records = (0..RECORDS).map(|_| clicks.event().map(record));
        let producer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("compression.type", "lz4")
            .set("linger.ms", LINGER.as_millis().to_string())
            .set("partitioner", "murmur2_random")
            .create()?;
        let records = records.collect::<anyhow::Result<_>>()?;
        Ok(Self { producer, topic, records, next: AtomicUsize::new(0) })
    }

    /// Sends a record, and returns once it is acknowledged.
    pub(crate) async fn produce(&self) -> anyhow::Result<()> {
        let next = self.next.fetch_add(1, Ordering::Relaxed) % RECORDS;
        let Record { event, value, traceparent } = &self.records[next];
        let record_headers = topic::headers_of(event, Some((traceparent, "")));
        // Another key each time, as clicks have: it chooses the partition.
        let key: [u8; 16] = rand::random();
        let record = FutureRecord::to(&self.topic).key(key.as_slice()).payload(value);
        let sent = self.producer.send_result(record.headers(record_headers));
        sent.map_err(|(error, _)| error)?.await?.map_err(|(error, _)| error)?;
        Ok(())
    }
}
