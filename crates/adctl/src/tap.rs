//! `adctl tap`: prints the events of a topic as they arrive.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, ValueEnum, value_parser};
use proto_schemas::Kind;
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
};
use tokio_util::sync::CancellationToken;

use crate::{
    connections::{KAFKA_TIMEOUT, KafkaAt},
    output,
};

mod line;

/// How long a poll may wait: this long after Ctrl-C it ends at the latest.
const POLL: Duration = Duration::from_millis(100);

/// Print the events of a topic as JSON lines
///
/// Begins with the next event, or with the oldest one that Kafka still has (--from-beginning). Joins
/// no consumer group and commits nothing, so it disturbs nobody. Partitions that are added later
/// are not noticed. The topic may hold an event more than once: `dedup_key` tells.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    adctl tap click\n  \
    adctl tap impression --from-beginning --count 1000 | jq -r .dedup_key | sort -u | wc -l")]
pub(crate) struct Tap {
    /// Which events
    kind: EventKind,
    /// Begin with the oldest event
    #[arg(long)]
    from_beginning: bool,
    /// End after so many records
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    kafka: KafkaAt,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum EventKind {
    Click,
    Impression,
}

impl Tap {
    pub(crate) async fn run(self, stop: CancellationToken) -> anyhow::Result<ExitCode> {
        // librdkafka's polling, and writing to a pipe, block.
        tokio::task::spawn_blocking(move || self.print(&stop)).await??;
        Ok(ExitCode::SUCCESS)
    }

    fn print(&self, stop: &CancellationToken) -> anyhow::Result<()> {
        let consumer: BaseConsumer = self
            .kafka
            .config()?
            // librdkafka wants a name, but with assigned partitions and no commits it joins no group.
            .set("group.id", "adctl-tap")
            .set("enable.auto.commit", "false")
            // What was deleted between asking for the beginning and reading it.
            .set("auto.offset.reset", "earliest")
            .create()?;
        let topics = self.kafka.topics();
        let topic = topics.of(self.kind.kind());
        let partitions = self.assign(&consumer, topic)?;
        let from = if self.from_beginning { "the beginning" } else { "now on" };
        output::note(format_args!(
            "reading {topic} ({partitions} partitions) from {from}; Ctrl-C ends it"
        ));

        match self.copy(&consumer, io::stdout().lock(), stop) {
            // A reader that has seen enough, such as `head`.
            Err(error) if is_broken_pipe(&error) => Ok(()),
            outcome => outcome,
        }
    }

    /// Begins to read all partitions of a topic, and returns how many there are.
    fn assign(&self, consumer: &BaseConsumer, topic: &str) -> anyhow::Result<usize> {
        let metadata = consumer
            .fetch_metadata(Some(topic), KAFKA_TIMEOUT)
            .map_err(|error| self.kafka.unreachable(&error))?;
        let topic_metadata = metadata.topics().first().context("Kafka does not say a thing")?;
        match topic_metadata.error().map(RDKafkaErrorCode::from) {
            None => {}
            Some(RDKafkaErrorCode::UnknownTopicOrPartition) => return Err(missing(topic)),
            Some(code) => bail!("topic {topic} cannot be read: {code}"),
        }

        let mut assignment = TopicPartitionList::new();
        for partition in topic_metadata.partitions() {
            // A number, and not "the end", which is wherever the end is when the broker is asked:
            // what arrives after the note that we are reading must be shown.
            let (low, high) = consumer
                .fetch_watermarks(topic, partition.id(), KAFKA_TIMEOUT)
                .map_err(|error| self.kafka.unreachable(&error))?;
            let start = if self.from_beginning { low } else { high };
            assignment.add_partition_offset(topic, partition.id(), Offset::Offset(start))?;
        }
        consumer.assign(&assignment)?;
        Ok(assignment.count())
    }

    fn copy(
        &self,
        consumer: &BaseConsumer,
        out: impl Write,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let mut out = io::BufWriter::new(out);
        let mut left = self.count.unwrap_or(u64::MAX);
        let mut trouble = None;
        while left > 0 && !stop.is_cancelled() {
            let mut next = consumer.poll(Duration::ZERO);
            if next.is_none() {
                // Nothing more for now: show what is there before waiting.
                out.flush()?;
                next = consumer.poll(POLL);
            }
            match next {
                None => {}
                Some(Ok(record)) => {
                    writeln!(out, "{}", line::render(&record)?)?;
                    left -= 1;
                    trouble = None;
                }
                Some(Err(error)) => note_trouble(error, &mut trouble)?,
            }
        }
        Ok(out.flush()?)
    }
}

impl EventKind {
    fn kind(self) -> Kind {
        match self {
            Self::Click => Kind::Click,
            Self::Impression => Kind::Impression,
        }
    }
}

/// Says once what is wrong where librdkafka tries again by itself; fails where it cannot help.
pub(crate) fn note_trouble(
    error: KafkaError,
    said: &mut Option<RDKafkaErrorCode>,
) -> anyhow::Result<()> {
    use RDKafkaErrorCode as Code;
    match error.rdkafka_error_code() {
        Some(
            code @ (Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::OperationTimedOut
            | Code::Resolve),
        ) => {
            if said.replace(code).is_none() {
                output::note(format_args!("Kafka does not answer ({code}); still trying"));
            }
            Ok(())
        }
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) => {
            bail!("the topic was deleted meanwhile")
        }
        _ => Err(error.into()),
    }
}

pub(crate) fn missing(topic: &str) -> anyhow::Error {
    anyhow!(
        "topic {topic} is not there: `make run` makes the topics of the local stack, `adctl topics \
         create` those of any other Kafka (and TOPIC_PREFIX names another pipeline)"
    )
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|it| it.kind() == io::ErrorKind::BrokenPipe)
}
