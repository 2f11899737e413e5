//! Row 11, starting: how much longer a service takes to be ready than its dependencies take.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use e2e::{Pipeline, Program};
use proto_schemas::Kind;
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer as _},
    producer::{BaseProducer, Producer as _},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::sleep,
};

use super::Effort;
use crate::{
    pairs::Pairs,
    report::{Row, Target, Unit, number},
};

/// A service may take so much longer.
const BEYOND_MS: f64 = 100.0;

/// How long anything here may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Often, as milliseconds are measured.
const POLL: Duration = Duration::from_millis(1);

/// Row 11, for each service.
pub(crate) async fn starts(effort: Effort) -> anyhow::Result<Vec<Row>> {
    let pipeline = Pipeline::new("bench-starts").await;
    let mut rows = Vec::new();
    for (program, against) in [
        (Program::Ingest, "a bare client of Kafka: connected, with the topic's metadata"),
        (
            Program::Consumer,
            "bare clients: Postgres connected and asked, then Kafka's group joined, partitions assigned",
        ),
        (Program::Analytics, "bare clients: Postgres and Redis connected and asked"),
    ] {
        // What both have to load from disk.
        ready_ms(&pipeline, program).await?;
        let pairs = Pairs::measure(
            effort.pairs,
            async || ready_ms(&pipeline, program).await,
            async || dependencies_ms(&pipeline, program).await,
        )
        .await?;
        let beyond = pairs.difference();
        let (ready, bare) = pairs.medians();
        rows.push(Row {
            number: "11",
            measured: format!(
                "start of {} until it is ready: {} ms",
                program.name(),
                number(ready)
            ),
            against: format!("{against}: {} ms", number(bare)),
            result: format!(
                "{:.0} ms more ({:.0} to {:.0})",
                beyond.median, beyond.least, beyond.most
            ),
            target: Some(Target::AtMost(BEYOND_MS)),
            unit: Unit::Ms,
            value: beyond.median,
        });
    }
    Ok(rows)
}

/// From the start of the process until `/readyz` says yes. The consumer then has its partitions, so it
/// has asked to join, and was let in.
async fn ready_ms(pipeline: &Pipeline, program: Program) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let mut service = pipeline.spawn(program, &[]);
    let url = format!("http://{}/readyz", service.admin());
    while pipeline.http.try_get(&url).await.is_none_or(|it| it.status != 200) {
        ensure!(begun.elapsed() < LIMIT, "{} is not ready", program.name());
        sleep(POLL).await;
    }
    let took = begun.elapsed();
    // In good order, so that the next consumer need not wait for this one's session to end.
    service.terminate();
    ensure!(service.exit_code().await == 0, "{} did not stop in good order", program.name());
    Ok(took.as_secs_f64() * 1000.0)
}

/// What bare clients take, one after the other.
async fn dependencies_ms(pipeline: &Pipeline, program: Program) -> anyhow::Result<f64> {
    let begun = Instant::now();
    match program {
        Program::Ingest => metadata(pipeline).await?,
        Program::Consumer => {
            postgres(pipeline).await?;
            assigned(pipeline).await?;
        }
        Program::Analytics => {
            postgres(pipeline).await?;
            redis(pipeline).await?;
        }
    }
    Ok(begun.elapsed().as_secs_f64() * 1000.0)
}

async fn metadata(pipeline: &Pipeline) -> anyhow::Result<()> {
    let config = kafka(pipeline);
    let topic = pipeline.scope().topics().of(Kind::Click).to_owned();
    let asked = tokio::task::spawn_blocking(move || {
        let producer: BaseProducer = config.create()?;
        producer.client().fetch_metadata(Some(&topic), LIMIT).map(drop)
    });
    Ok(asked.await??)
}

async fn assigned(pipeline: &Pipeline) -> anyhow::Result<()> {
    let mut config = kafka(pipeline);
    config.set("group.id", format!("{}-bare", pipeline.scope().consumer_group));
    let topics = pipeline.scope().topics();
    let joined = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = config.create()?;
        consumer.subscribe(&Kind::ALL.map(|kind| topics.of(kind)))?;
        let begun = Instant::now();
        while consumer.assignment()?.count() == 0 {
            ensure!(begun.elapsed() < LIMIT, "no partitions were assigned");
            drop(consumer.poll(POLL));
        }
        // It leaves its group on a thread that nobody waits for: that is not part of the start.
        std::thread::spawn(move || drop(consumer));
        anyhow::Ok(())
    });
    joined.await?
}

async fn postgres(pipeline: &Pipeline) -> anyhow::Result<()> {
    let url = pipeline.own_database_url().into();
    let (client, _connection) = click_store::connect(&url, "bench").await?;
    client.query_one("SELECT 1", &[]).await.context("asking Postgres")?;
    Ok(())
}

async fn redis(pipeline: &Pipeline) -> anyhow::Result<()> {
    let url = &pipeline.scope().stack.redis_url;
    let address = url.strip_prefix("redis://").context("the address of Redis")?;
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"PING\r\n").await?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).await?;
    ensure!(answer == *b"+PONG\r\n", "Redis answered {answer:?}");
    Ok(())
}

fn kafka(pipeline: &Pipeline) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &pipeline.scope().stack.kafka_brokers);
    config
}
