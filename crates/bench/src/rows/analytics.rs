//! Row 7: what an answer of the analytics takes, against a bare route that returns the same bytes.

use std::{io::Write as _, net::SocketAddr, time::Duration};

use anyhow::Context as _;
use click_store::ads::{self, Ad};
use e2e::{Pipeline, Program, Service, until};
use proto_schemas::AdId;

use super::{BareRoute, Effort, ad, ingest::new_seed};
use crate::{
    clicks::Clicks,
    cpu,
    load::{self, Pace, Plan},
    pairs::Pairs,
    report::{Row, Target, float},
    requests::Get,
    topic,
};

const ADS: u64 = 1000;
const CLICKS: usize = 20_000;
const CONNECTIONS: u32 = 32;
const WARM_UP: Duration = Duration::from_millis(500);

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
    let bare = BareRoute::start(&["--file", path]).await?;

    let pairs = Pairs::measure(
        effort.pairs,
        async || for_each_answer(effort, analytics.address(), analytics.process().id()).await,
        async || for_each_answer(effort, bare.address, bare.pid()).await,
    )
    .await?;
    let names = ("GET /ads/analytics, 1,000 ads", "a bare axum route that returns the same bytes");
    Ok(Row::of_pairs("7", names, "µs of processor for each answer", &pairs, Target::AtMost(1.3)))
}

async fn for_each_answer(effort: Effort, to: SocketAddr, pid: u32) -> anyhow::Result<f64> {
    let plan = Plan { to, connections: CONNECTIONS, pace: Pace::Closed, lasts: WARM_UP };
    let get = |_| Get("/ads/analytics");
    load::run(plan, get).await?;
    let before = cpu::taken_by(pid)?;
    let answers = load::run(Plan { lasts: effort.load, ..plan }, get).await?.all_accepted()?;
    let taken = cpu::taken_by(pid)?.saturating_sub(before);
    Ok(taken.as_secs_f64() * 1e6 / float(answers.all()))
}
