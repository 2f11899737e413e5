//! Making topics, which the broker never does by itself, and deleting them.

use std::collections::HashMap;
use std::time::Duration;

use proto_schemas::{Kind, Topics, topics};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;
use tokio::time::{Instant, sleep};

/// How long making topics may take, leaders included.
const LIMIT: Duration = Duration::from_secs(30);

/// As many copies as the broker thinks right.
const DEFAULT_REPLICATION: TopicReplication<'static> = TopicReplication::Fixed(-1);

/// A topic to be made.
#[derive(Clone, Debug)]
pub struct Topic {
    pub name: String,
    pub partitions: i32,
    /// `None` leaves it to the broker.
    pub retention: Option<Duration>,
}

/// The three topics of the pipeline, behind a prefix.
pub fn of_the_pipeline(prefix: &str) -> Vec<Topic> {
    let names = Topics::new(prefix);
    let events = Kind::ALL.into_iter().map(|kind| Topic {
        name: names.of(kind).to_owned(),
        partitions: topics::PARTITIONS,
        retention: Some(topics::RETENTION),
    });
    let dead = Topic {
        name: names.dead().to_owned(),
        partitions: topics::DEAD_PARTITIONS,
        retention: Some(topics::DEAD_RETENTION),
    };
    events.chain([dead]).collect()
}

/// Makes topics and waits until every partition can be used. One that exists is left as it is.
pub async fn create(kafka: &ClientConfig, topics: &[Topic]) -> Result<(), TopicError> {
    let admin: AdminClient<DefaultClientContext> = kafka.create().map_err(TopicError::Ask)?;

    let retentions: HashMap<&str, String> = topics
        .iter()
        .filter_map(|it| Some((it.name.as_str(), it.retention?.as_millis().to_string())))
        .collect();
    let new = topics.iter().map(|it| {
        let topic = NewTopic::new(&it.name, it.partitions, DEFAULT_REPLICATION);
        match retentions.get(it.name.as_str()) {
            Some(retention_ms) => topic.set("retention.ms", retention_ms),
            None => topic,
        }
    });
    let options = AdminOptions::new().operation_timeout(Some(LIMIT)).request_timeout(Some(LIMIT));
    let results =
        admin.create_topics(&new.collect::<Vec<_>>(), &options).await.map_err(TopicError::Ask)?;
    for result in results {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => return Err(TopicError::Refused { name, code }),
        }
    }

    let names: Vec<String> = topics.iter().map(|it| it.name.clone()).collect();
    await_leaders(admin, names).await
}

/// Deletes topics and what is on them. One that does not exist is no error.
pub async fn delete(kafka: &ClientConfig, topics: &[&str]) -> Result<(), TopicError> {
    let admin: AdminClient<DefaultClientContext> = kafka.create().map_err(TopicError::Ask)?;
    let options = AdminOptions::new().operation_timeout(Some(LIMIT)).request_timeout(Some(LIMIT));
    for result in admin.delete_topics(topics, &options).await.map_err(TopicError::Ask)? {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
            Err((name, code)) => return Err(TopicError::NotDeleted { name, code }),
        }
    }
    Ok(())
}

/// Topics that could not be made, or deleted.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    #[error("Kafka did not answer")]
    Ask(#[source] KafkaError),
    #[error("topic {name} could not be made: {code}")]
    Refused { name: String, code: RDKafkaErrorCode },
    #[error("topic {name} could not be deleted: {code}")]
    NotDeleted { name: String, code: RDKafkaErrorCode },
    #[error("topic {0} has partitions without a leader")]
    NoLeader(String),
}

async fn await_leaders(
    admin: AdminClient<DefaultClientContext>,
    names: Vec<String>,
) -> Result<(), TopicError> {
    const POLL: Duration = Duration::from_millis(20);
    let admin = std::sync::Arc::new(admin);
    let deadline = Instant::now() + LIMIT;

    for name in names {
        loop {
            let (client, topic) = (std::sync::Arc::clone(&admin), name.clone());
            let ready = tokio::task::spawn_blocking(move || has_leaders(&client, &topic)).await;
            if matches!(ready, Ok(Ok(true))) {
                break;
            }
            if Instant::now() > deadline {
                return Err(TopicError::NoLeader(name));
            }
            sleep(POLL).await;
        }
    }
    Ok(())
}

/// Tells whether every partition answers: a leader that metadata names may not know of it yet, and
/// would refuse what is asked of it.
fn has_leaders(admin: &AdminClient<DefaultClientContext>, topic: &str) -> Result<bool, KafkaError> {
    const ANSWER: Duration = Duration::from_secs(5);
    let metadata = admin.inner().fetch_metadata(Some(topic), ANSWER)?;
    let partitions: Vec<_> = metadata.topics().iter().flat_map(MetadataTopic::partitions).collect();
    let led = !partitions.is_empty() && partitions.iter().all(|it| it.leader() >= 0);
    if led {
        for partition in partitions {
            admin.inner().fetch_watermarks(topic, partition.id(), ANSWER)?;
        }
    }
    Ok(led)
}
