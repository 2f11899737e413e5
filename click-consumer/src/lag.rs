//! Asks Kafka every two seconds where its logs end, and so how many events wait to be counted.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use rdkafka::{Offset, TopicPartitionList, consumer::Consumer, error::KafkaError};
use tokio::{
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::{
    assignment::Assignment, kafka::KafkaConsumer, metrics::Metrics, partition::Partition,
    partition::TopicNames,
};

const ASK_EVERY: Duration = Duration::from_secs(2);

/// Short, because closing the consumer waits for a question that is under way.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Measures the lag of this consumer's partitions, also while nothing of them can be counted.
pub(crate) struct LagWatch {
    pub(crate) consumer: Arc<KafkaConsumer>,
    pub(crate) names: TopicNames,
    pub(crate) assignment: Assignment,
    pub(crate) metrics: Metrics,
}

impl LagWatch {
    /// Measures until `shutdown` is cancelled.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut shown = HashSet::new();
        let mut ticks = interval(ASK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
            self.look(&mut shown).await;
        }
    }

    async fn look(&self, shown: &mut HashSet<Partition>) {
        // Before the ends: what is counted meanwhile makes the lag too large, never below zero.
        let positions: HashMap<_, _> =
            self.assignment.positions().into_iter().map(|(it, (_, at))| (it, at)).collect();
        shown.retain(|partition| {
            let ours = positions.contains_key(partition);
            if !ours {
                self.metrics.lag_unknown(*partition);
            }
            ours
        });
        let asked = self.ends(positions.keys().copied().collect()).await;
        self.metrics.kafka_answered(asked.is_ok());
        match asked {
            Ok(ends) => {
                for (partition, end) in ends {
                    if let Some(position) = positions.get(&partition) {
                        self.metrics.lag(partition, (end - position).max(0));
                        shown.insert(partition);
                    }
                }
            }
            Err(error) => debug!(%error, "the ends of the logs are not known"),
        }
    }

    /// Where these partitions end, or an error where Kafka does not answer.
    async fn ends(&self, partitions: Vec<Partition>) -> Result<Vec<(Partition, i64)>, KafkaError> {
        let (consumer, names) = (Arc::clone(&self.consumer), self.names.clone());
        let asked = spawn_blocking(move || ask(&consumer, &names, &partitions));
        // Cancelled only where the runtime ends.
        asked.await.unwrap_or(Err(KafkaError::Canceled))
    }
}

fn ask(
    consumer: &KafkaConsumer,
    names: &TopicNames,
    partitions: &[Partition],
) -> Result<Vec<(Partition, i64)>, KafkaError> {
    if partitions.is_empty() {
        // A consumer too many: it has no partitions, and still wants to know whether Kafka is there.
        let topic = names.topic(proto_schemas::Kind::Click);
        consumer.fetch_metadata(Some(topic), ANSWER_WITHIN)?;
        return Ok(Vec::new());
    }
    let mut wanted = TopicPartitionList::new();
    for it in partitions {
        // Asked for the time "latest", a broker tells the end of the log: one question for each
        // broker, where `fetch_watermarks` would be two for each partition.
        wanted.add_partition_offset(names.topic(it.kind), it.number, Offset::End)?;
    }
    let found = consumer.offsets_for_times(wanted, ANSWER_WITHIN)?;
    let ends = found.elements().into_iter().filter_map(|it| {
        let partition = names.partition(it.topic(), it.partition())?;
        match (it.error(), it.offset()) {
            (Ok(()), Offset::Offset(end)) => Some((partition, end)),
            _ => None,
        }
    });
    Ok(ends.collect())
}
