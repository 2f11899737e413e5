//! Asks Kafka every two seconds whether it is there, and tells `/readyz`.

use std::time::{Duration, Instant};

use proto_schemas::Kind;
use rdkafka::{error::RDKafkaErrorCode, producer::Producer as _};
use service_kit::{dependencies::Dependency, readiness::Check};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    producer::{Client, Producer},
    spool::Spool,
};

const ASK_EVERY: Duration = Duration::from_secs(2);
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// How long Kafka may be silent before the service says that it is not ready.
///
/// Long, because all replicas lose the same Kafka at the same time: were they all taken out of the
/// load balancer for an election of some seconds, players would get its bare error instead of our
/// 503 with `Retry-After`. Not for ever, because it may be this replica alone that was cut off.
const PATIENCE: Duration = Duration::from_secs(30);

/// Keeps `check` up to date until `shutdown` is cancelled.
///
/// Not ready until Kafka has once told that both topics are there, each partition with a leader; not
/// ready again after 30 s without such an answer. A spool that takes events makes the service ready
/// in any case. A producer with a fatal error is replaced here too, where no event comes to find it
/// out.
pub(crate) async fn watch(
    producer: Producer,
    spool: Option<Spool>,
    kafka: Dependency,
    check: Check,
    shutdown: CancellationToken,
) {
    let mut view = View::default();
    let mut ticks = interval(ASK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);

    loop {
        // Both arms are cancel safe. A question that is under way ends by itself within 2 s.
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            answer = ask_at_next_tick(&mut ticks, &producer) => {
                kafka.answered(answer.is_ok());
                let spooling = spool.as_ref().is_some_and(Spool::takes_events);
                view.tell(answer, Instant::now(), spooling, &check);
            }
        }
        producer.replace_if_fatal();
    }
}

async fn ask_at_next_tick(
    ticks: &mut tokio::time::Interval,
    producer: &Producer,
) -> Result<(), String> {
    ticks.tick().await;
    let (client, topics) = (producer.client(), producer.topics().clone());
    let asked = tokio::task::spawn_blocking(move || {
        Kind::ALL.into_iter().try_for_each(|kind| ask(&client, topics.of(kind)))
    });
    match asked.await.unwrap_or_else(|error| Err(error.to_string())) {
        Ok(()) => {
            producer.refusals().clear();
            Ok(())
        }
        // That there was no answer says less than why there can be none.
        Err(reason) => Err(match producer.refusals().get() {
            Some(refusal) => format!("{reason} ({refusal})"),
            None => reason,
        }),
    }
}

fn ask(client: &Client, topic: &str) -> Result<(), String> {
    let metadata = client
        .client()
        .fetch_metadata(Some(topic), ANSWER_WITHIN)
        .map_err(|error| format!("no broker answers: {error}"))?;
    let Some(found) = metadata.topics().iter().find(|it| it.name() == topic) else {
        return Err(format!("topic {topic} is missing"));
    };
    if let Some(error) = found.error() {
        return Err(format!("topic {topic}: {}", RDKafkaErrorCode::from(error)));
    }
    let without_leader = found.partitions().iter().filter(|it| it.leader() < 0).count();
    match (found.partitions().len(), without_leader) {
        (0, _) => Err(format!("topic {topic} is missing")),
        (_, 0) => Ok(()),
        (all, without) => Err(format!("{without} of {all} partitions of {topic} have no leader")),
    }
}

/// What is known of Kafka.
#[derive(Debug, Default)]
struct View {
    last_answer: Option<Instant>,
    failing: bool,
}

impl View {
    /// Takes in an answer of `now`. Logs only what changes.
    fn tell(&mut self, answer: Result<(), String>, now: Instant, spooling: bool, check: &Check) {
        match answer {
            Ok(()) => {
                if self.failing || self.last_answer.is_none() {
                    info!("kafka can be used");
                }
                self.last_answer = Some(now);
                self.failing = false;
                check.ok();
            }
            Err(reason) => {
                if !self.failing {
                    warn!(reason, "kafka cannot be used, asking again");
                }
                self.failing = true;
                let patient = self.last_answer.is_some_and(|last| now - last < PATIENCE);
                if spooling {
                    check.ok();
                } else if !patient {
                    check.fail(reason);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use service_kit::readiness::Readiness;

    use super::*;

    fn no_answer() -> Result<(), String> {
        Err("no broker answers".to_owned())
    }

    #[test]
    fn the_service_is_not_ready_until_kafka_answered_once() {
        let readiness = Readiness::new();
        let (check, mut view) = (readiness.register("kafka"), View::default());

        view.tell(no_answer(), Instant::now(), false, &check);
        let reason = readiness.status().expect_err("not ready").to_string();
        assert_eq!(reason, "kafka: no broker answers");

        view.tell(Ok(()), Instant::now(), false, &check);
        assert_eq!(readiness.status(), Ok(()));
    }

    #[test]
    fn a_spool_that_takes_events_makes_the_service_ready_without_kafka() {
        let readiness = Readiness::new();
        let (check, mut view) = (readiness.register("kafka"), View::default());
        let start = Instant::now();

        view.tell(no_answer(), start, true, &check);
        assert_eq!(readiness.status(), Ok(()));

        view.tell(no_answer(), start + PATIENCE, false, &check);
        assert!(readiness.status().is_err(), "it is full");
    }

    #[test]
    fn a_short_silence_of_kafka_leaves_the_service_ready() {
        let readiness = Readiness::new();
        let (check, mut view) = (readiness.register("kafka"), View::default());
        let start = Instant::now();

        view.tell(Ok(()), start, false, &check);
        view.tell(no_answer(), start + PATIENCE / 2, false, &check);
        assert_eq!(readiness.status(), Ok(()));

        view.tell(no_answer(), start + PATIENCE, false, &check);
        assert!(readiness.status().is_err());

        view.tell(Ok(()), start + 2 * PATIENCE, false, &check);
        assert_eq!(readiness.status(), Ok(()));
    }
}
