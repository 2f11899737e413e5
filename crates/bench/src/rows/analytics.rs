//! Row 7: what an answer of the analytics takes, against a bare route that returns the same bytes.

use std::io::Write as _;

use anyhow::Context as _;
use click_store::ads::{self, Ad};
use e2e::{Pipeline, Program, Service, until};
use proto_schemas::AdId;

use super::{
    Allocator, BareRoute, Effort, ad,
    cost::{Cost, Server},
    ingest::new_seed,
};
use crate::{
    clicks::Clicks,
    report::{Row, Target},
    requests::Get,
    topic,
};

const ADS: u64 = 1000;
const CLICKS: usize = 20_000;
const CONNECTIONS: u32 = 32;

/// A pipeline with clicks of so many ads that are counted and shown, and the consumer that counted them.
pub(super) async fn counted() -> anyhow::Result<(Pipeline, Service)> {
    let pipeline = Pipeline::new("bench-analytics").await;
    let ads: Vec<Ad> = (1..=ADS).filter_map(AdId::new).map(ad).collect();
    ads::add(pipeline.pool(), &ads).await?;
    let mut clicks = Clicks::new(ADS, new_seed());
    let events = (0..CLICKS).map(|_| clicks.event()).collect::<anyhow::Result<Vec<_>>>()?;
    topic::fill(pipeline.scope(), &events).await?;
    let consumer = pipeline.start(Program::Consumer, &[]).await;
    pipeline.until_counted(i64::try_from(CLICKS)?).await;
    Ok((pipeline, consumer))
}

/// Row 7.
pub(crate) async fn answers(effort: Effort) -> anyhow::Result<Row> {
    let (pipeline, _consumer) = counted().await?;
    let analytics = pipeline.start(Program::Analytics, &[]).await;
    let url = analytics.url("/ads/analytics");
    until("the analytics answer from Redis", async || {
        pipeline.http.get(&url).await.header("x-data-source") == "redis"
    })
    .await;

    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(pipeline.http.get(&url).await.body.as_bytes())?;
    let path = file.path().to_str().context("a path in UTF-8")?;
    let bare = BareRoute::start(Allocator::Glibc, &["--file", path]).await?;

    let servers = (Server::of(&analytics), bare.server());
    let cost = Cost::compare(effort, CONNECTIONS, servers, |_| Get("/ads/analytics")).await?;
    let names = ("GET /ads/analytics, 1,000 ads", "a bare axum route that returns the same bytes");
    Ok(cost.row("7", names, "answer", Target::AtMost(1.3)))
}
