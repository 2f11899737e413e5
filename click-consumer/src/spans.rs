//! The spans of this service, by the semantic conventions of messaging and of databases.
//!
//! A batch is `process …`, with links to the events that it stores. Its children are the `TRANSACTION`
//! (one for each attempt) with its `COMMIT` and its dead letters, and what Redis is told.

use service_kit::traces::{Attribute, Begin, Context, Span, SpanKind};
use tokio::time::error::Elapsed;

use crate::{
    batch::Batch,
    batch_store::{Failure, Outcome},
    partition::TopicNames,
};

/// A batch, however often counting it is tried. Bears the name of its topic where it is of one alone.
pub(crate) fn process(batch: &Batch, names: &TopicNames, group: &str) -> Span {
    let topic = || {
        let mut kinds: Vec<_> = batch.runs().map(|(partition, _)| partition.kind).collect();
        kinds.dedup();
        match kinds[..] {
            [kind] => Some(names.topic(kind)),
            _ => None,
        }
    };
    let span = Span::begin(|| Begin {
        name: topic().map_or("process".into(), |it| format!("process {it}").into()),
        kind: SpanKind::Consumer,
        parent: Context::new(),
        links: batch.traces().cloned().collect(),
    });
    span.say(|| {
        [
            Attribute::new("messaging.system", "kafka"),
            Attribute::new("messaging.operation.name", "process"),
            Attribute::new("messaging.operation.type", "process"),
            Attribute::new("messaging.consumer.group.name", group.to_owned()),
            Attribute::new("messaging.batch.message_count", count(batch.records())),
        ]
    });
    if let Some(topic) = topic() {
        span.say(|| [Attribute::new("messaging.destination.name", topic.to_owned())]);
    }
    span
}

/// One attempt to count a batch, up to the answer to COMMIT.
pub(crate) fn transaction(events: usize) -> Span {
    let span = client("TRANSACTION");
    span.say(|| {
        [
            Attribute::new("db.system.name", "postgresql"),
            Attribute::new("db.operation.name", "TRANSACTION"),
            Attribute::new("db.operation.batch.size", count(events)),
        ]
    });
    span
}

/// Says what came of an attempt.
pub(crate) fn transaction_ended(span: &Span, counting: &Result<Result<Outcome, Failure>, Elapsed>) {
    match counting {
        Ok(Ok(Outcome::Counted(counted))) => span.say(|| {
            let sum = |of: fn(&_) -> i64| counted.iter().map(|it| of(&it.ledger)).sum::<i64>();
            [
                Attribute::new("ads.stored", sum(|it| it.stored)),
                Attribute::new("ads.duplicates", sum(|it| it.duplicates)),
                Attribute::new("ads.dead", sum(|it| it.dead)),
            ]
        }),
        Ok(Ok(Outcome::Moved(_))) => span.failed("fence_moved"),
        Ok(Err(failure)) => span.failed(match failure {
            Failure::Store(_) => "store",
            Failure::DeadLetters(_) => "dead_letters",
            Failure::Refused(_) => "refused",
            Failure::InDoubt(_) => "in_doubt",
        }),
        Err(_elapsed) => span.failed("timeout"),
    }
}

/// The part of a transaction that makes it count.
pub(crate) fn commit() -> Span {
    let span = client("COMMIT");
    span.say(|| {
        [
            Attribute::new("db.system.name", "postgresql"),
            Attribute::new("db.operation.name", "COMMIT"),
        ]
    });
    span
}

/// The scripts that tell Redis of a batch, one for each partition, all at once.
pub(crate) fn redis(scripts: usize, course: Context) -> Span {
    const NAME: &str = "PIPELINE EVALSHA";
    let span = Span::begin(|| Begin {
        name: NAME.into(),
        kind: SpanKind::Client,
        parent: course,
        links: Vec::new(),
    });
    span.say(|| {
        [
            Attribute::new("db.system.name", "redis"),
            Attribute::new("db.operation.name", NAME),
            Attribute::new("db.operation.batch.size", count(scripts)),
        ]
    });
    span
}

/// What can never count, on its way to its topic.
pub(crate) fn send_dead_letters(topic: &str, letters: usize) -> Span {
    let span = Span::begin(|| Begin {
        name: format!("send {topic}").into(),
        kind: SpanKind::Producer,
        parent: Context::current(),
        links: Vec::new(),
    });
    span.say(|| {
        [
            Attribute::new("messaging.system", "kafka"),
            Attribute::new("messaging.operation.name", "send"),
            Attribute::new("messaging.operation.type", "send"),
            Attribute::new("messaging.destination.name", topic.to_owned()),
            Attribute::new("messaging.batch.message_count", count(letters)),
        ]
    });
    span
}

fn client(name: &'static str) -> Span {
    Span::begin(|| Begin {
        name: name.into(),
        kind: SpanKind::Client,
        parent: Context::current(),
        links: Vec::new(),
    })
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
