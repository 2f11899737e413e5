//! How many records of the event topics are not yet counted.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, bail};
use click_store::{Pool, StoreError, totals};
use proto_schemas::{Kind, Topics};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::metadata::MetadataTopic;
use tokio::time::{Instant, sleep};

use crate::command::stores::Addresses;

/// How long counting may stand still before it is called stuck.
const PATIENCE: Duration = Duration::from_mins(1);

const POLL: Duration = Duration::from_millis(200);

/// Waits until every record that is on Kafka now is counted in Postgres.
pub(super) async fn gone(addresses: &Addresses, topic_prefix: &str) -> anyhow::Result<()> {
    let ends = ends(addresses, topic_prefix).await?;
    let pool = click_store::pool(&addresses.database_url.as_str().into(), "local-stack", 1)?;
    let (mut least, mut since) = (i64::MAX, Instant::now());
    loop {
        // A store may be on its way back: then this fails for a while, which is no progress either.
        let left = left(&pool, &ends).await;
        match &left {
            Ok(0) => return Ok(()),
            Ok(left) if *left < least => (least, since) = (*left, Instant::now()),
            _ if since.elapsed() > PATIENCE => {
                let left = left.context("counting could not be followed")?;
                bail!("{left} events are still not counted, and nothing moves");
            }
            _ => {}
        }
        sleep(POLL).await;
    }
}

/// The end of each partition of the event topics that holds anything.
type Ends = HashMap<(String, i32), i64>;

async fn ends(addresses: &Addresses, topic_prefix: &str) -> anyhow::Result<Ends> {
    let kafka = addresses.kafka_config()?;
    let names = Topics::new(topic_prefix);
    let topics = Kind::ALL.map(|kind| names.of(kind).to_owned());
    let asked = tokio::task::spawn_blocking(move || ask_ends(&kafka, &topics)).await?;
    asked.context("Kafka did not say how much it holds")
}

fn ask_ends(kafka: &ClientConfig, topics: &[String]) -> anyhow::Result<Ends> {
    const LIMIT: Duration = Duration::from_secs(30);
    let client: BaseConsumer = kafka.create()?;
    let mut ends = Ends::new();
    for topic in topics {
        let metadata = client.fetch_metadata(Some(topic), LIMIT)?;
        for partition in metadata.topics().iter().flat_map(MetadataTopic::partitions) {
            let (_, end) = client.fetch_watermarks(topic, partition.id(), LIMIT)?;
            ends.insert((topic.clone(), partition.id()), end);
        }
    }
    Ok(ends)
}

async fn left(pool: &Pool, ends: &Ends) -> Result<i64, StoreError> {
    let standing = totals::standing(pool).await?;
    let counted: HashMap<_, _> = standing
        .view
        .partitions
        .iter()
        .zip(standing.offsets)
        .map(|(it, offset)| ((it.at.topic.to_string(), it.at.partition), offset))
        .collect();
    let left = |(partition, end): (_, &i64)| (end - counted.get(partition).unwrap_or(&0)).max(0);
    Ok(ends.iter().map(left).sum())
}
