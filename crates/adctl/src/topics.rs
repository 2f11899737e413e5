//! `adctl topics`: makes the topics, which the broker never does by itself.

use anyhow::bail;
use clap::{Args, Subcommand, value_parser};
use proto_schemas::{Kind, topics};
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    error::RDKafkaErrorCode,
};

use crate::{
    connections::{KAFKA_TIMEOUT, KafkaAt},
    output,
};

/// The replication factor that stands for the broker's own default (KIP-464).
const BROKER_DEFAULT: i32 = -1;

/// Make the topics of the pipeline
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Create(Create),
}

/// Make ad-clicks, ad-impressions and ad-events-dead
///
/// Topics that are there already are left as they are.
#[derive(Args, Debug)]
#[command(after_help = "Example, for three brokers:\n  \
    adctl topics create --partitions 24 --replication 3")]
pub(crate) struct Create {
    /// Partitions of each event topic; the dead letters have their own number
    #[arg(
        long,
        value_name = "N",
        default_value_t = topics::PARTITIONS,
        value_parser = value_parser!(i32).range(1..=1000)
    )]
    partitions: i32,
    /// Brokers that hold each partition [default: the broker's own, which should be 3 in production]
    #[arg(long, value_name = "N", value_parser = value_parser!(i32).range(1..=100))]
    replication: Option<i32>,
    #[command(flatten)]
    kafka: KafkaAt,
}

impl Command {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let Self::Create(create) = self;
        create.run().await
    }
}

impl Create {
    async fn run(self) -> anyhow::Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.kafka.config()?.create()?;
        let names = self.kafka.topics();
        let retention_ms = topics::RETENTION.as_millis().to_string();
        let dead_retention_ms = topics::DEAD_RETENTION.as_millis().to_string();
        let replication = || TopicReplication::Fixed(self.replication.unwrap_or(BROKER_DEFAULT));

        let events = Kind::ALL.map(|kind| {
            NewTopic::new(names.of(kind), self.partitions, replication())
                .set("retention.ms", &retention_ms)
        });
        let dead = NewTopic::new(names.dead(), topics::DEAD_PARTITIONS, replication())
            .set("retention.ms", &dead_retention_ms);
        let options = AdminOptions::new()
            .operation_timeout(Some(KAFKA_TIMEOUT))
            .request_timeout(Some(KAFKA_TIMEOUT));
        let results = admin
            .create_topics(events.iter().chain([&dead]), &options)
            .await
            .map_err(|error| self.kafka.unreachable(&error))?;

        let mut refused = Vec::new();
        for result in results {
            match result {
                Ok(name) => output::result(format_args!("{name}: made"))?,
                Err((name, RDKafkaErrorCode::TopicAlreadyExists)) => {
                    output::result(format_args!("{name}: there already, left as it is"))?;
                }
                Err((name, code)) => refused.push(format!("{name} ({code})")),
            }
        }
        if !refused.is_empty() {
            bail!("Kafka refuses to make {}", refused.join(", "));
        }
        Ok(())
    }
}
