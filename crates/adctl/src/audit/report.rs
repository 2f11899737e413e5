//! What an audit found: every partition with its numbers, and the differences in words.

use std::{collections::HashSet, process::ExitCode};

use click_store::{
    TopicPartition,
    audit::{Books, PartitionBooks, RedisState, Stray},
};
use serde::Serialize;

use super::{
    RedisStates, UNKNOWN,
    logs::{Log, Logs},
};

/// How many ads of a partition are named in words; `--json` has all of them.
const ADS_NAMED: usize = 3;

/// What an audit found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Whether no difference was found.
    pub(super) accounted_for: bool,
    /// What could not be found out.
    pub(super) unknown: Vec<String>,
    pub(super) epoch: String,
    pub(super) partitions: Vec<Line>,
    /// What belongs to no partition that is counted.
    pub(super) strays: Vec<String>,
}

/// One partition.
#[derive(Debug, Default, Serialize)]
pub(super) struct Line {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) log_start: Option<i64>,
    pub(super) log_end: Option<i64>,
    /// `None` where no consumer has seen the partition yet.
    pub(super) next_offset: Option<i64>,
    /// Records that Kafka holds and that are not counted yet.
    pub(super) lag: Option<i64>,
    pub(super) stored: i64,
    pub(super) duplicates: i64,
    pub(super) dead: i64,
    pub(super) absent: i64,
    pub(super) rows: Option<i64>,
    pub(super) totals: i64,
    pub(super) redis: Option<String>,
    pub(super) differences: Vec<String>,
    /// Ads whose rows and total differ.
    ads: Vec<AdLine>,
}

#[derive(Debug, Serialize)]
struct AdLine {
    id: u64,
    rows: i64,
    total: i64,
}

impl Report {
    /// `logs` and `redis` are as far as they could be found out, and `unknown` says what could not.
    pub(super) fn new(
        books: &Books,
        logs: Option<&Logs>,
        redis: &RedisStates,
        unknown: Vec<String>,
    ) -> Self {
        let counted = books.partitions.iter().map(|it| Line::counted(it, logs, redis.get(&it.at)));
        let seen: HashSet<&TopicPartition> = books.partitions.iter().map(|it| &it.at).collect();
        let unseen = logs.into_iter().flat_map(Logs::iter).filter(|(at, _)| !seen.contains(at));
        let mut partitions: Vec<Line> =
            counted.chain(unseen.map(|(at, log)| Line::unseen(at, log))).collect();
        partitions.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));

        let strays: Vec<String> = books.strays.iter().map(stray).collect();
        Self {
            accounted_for: strays.is_empty()
                && partitions.iter().all(|it| it.differences.is_empty()),
            unknown,
            epoch: books.epoch.to_string(),
            partitions,
            strays,
        }
    }

    /// A difference weighs more than something that could not be found out.
    pub(super) fn exit_code(&self) -> ExitCode {
        if !self.accounted_for {
            ExitCode::FAILURE
        } else if self.unknown.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(UNKNOWN)
        }
    }
}

impl Line {
    fn counted(books: &PartitionBooks, logs: Option<&Logs>, redis: Option<&RedisState>) -> Self {
        let log = logs.and_then(|it| it.get(&books.at));
        let mut differences = Vec::new();
        if let Some(log) = log {
            differences.extend(log_difference(books.next_offset, log));
        } else if logs.is_some() {
            differences.push("Kafka has no such partition".to_owned());
        }
        differences.extend(book_differences(books));
        differences.extend(redis.filter(|it| it.is_difference()).map(redis_text));

        let ledger = &books.ledger;
        Self {
            topic: books.at.topic.to_string(),
            partition: books.at.partition,
            log_start: log.map(|it| it.start),
            log_end: log.map(|it| it.end),
            next_offset: Some(books.next_offset),
            lag: log.map(|it| (it.end - books.next_offset).max(0)),
            stored: ledger.stored,
            duplicates: ledger.duplicates,
            dead: ledger.dead,
            absent: ledger.absent,
            rows: books.rows,
            totals: books.totals,
            redis: redis.map(redis_text),
            differences,
            ads: books
                .ads
                .iter()
                .map(|it| AdLine { id: it.ad.get(), rows: it.rows, total: it.total })
                .collect(),
        }
    }

    /// A partition that no consumer has seen yet: counting will begin at 0.
    fn unseen(at: &TopicPartition, log: Log) -> Self {
        Self {
            topic: at.topic.to_string(),
            partition: at.partition,
            log_start: Some(log.start),
            log_end: Some(log.end),
            lag: Some(log.end - log.start),
            differences: log_difference(0, log).into_iter().collect(),
            ..Self::default()
        }
    }
}

fn log_difference(next_offset: i64, log: Log) -> Option<String> {
    if log.end < next_offset {
        return Some(format!(
            "the log ends {} before what is counted: it was cut or made again",
            next_offset - log.end
        ));
    }
    (log.start > next_offset).then(|| {
        format!("the log begins {} after what is counted: those expired", log.start - next_offset)
    })
}

fn book_differences(books: &PartitionBooks) -> Vec<String> {
    let mut differences = Vec::new();
    match books.missing_in_ledger() {
        0 => {}
        missing @ 1.. => differences.push(format!("{missing} offsets are in no ledger")),
        missing => differences.push(format!("the ledger has {} too many", -missing)),
    }
    if books.ledger.stored != books.totals {
        let (stored, totals) = (books.ledger.stored, books.totals);
        differences.push(format!("{stored} stored, {totals} in the totals"));
    }
    if let Some(rows) = books.rows
        && rows != books.totals
    {
        differences.push(format!("{rows} rows, {} in the totals", books.totals));
    }
    for it in books.ads.iter().take(ADS_NAMED) {
        differences.push(format!("ad {}: {} rows, {} in its total", it.ad, it.rows, it.total));
    }
    if books.ads.len() > ADS_NAMED {
        differences.push(format!("and {} ads more", books.ads.len() - ADS_NAMED));
    }
    differences
}

fn redis_text(state: &RedisState) -> String {
    match state {
        RedisState::Equal => "equal".to_owned(),
        RedisState::Absent => "absent".to_owned(),
        RedisState::OtherEpoch => "of another epoch".to_owned(),
        RedisState::Behind(by) => format!("moving, {by} behind"),
        RedisState::Ahead(by) => format!("Redis is {by} ahead"),
        RedisState::Different { ads } => format!("Redis differs in {ads} ads"),
        RedisState::Malformed => "Redis holds what is no total".to_owned(),
    }
}

fn stray(stray: &Stray) -> String {
    let Stray { table, topic, partition, events } = stray;
    let topic = topic.as_ref().map(|it| format!("{it}/")).unwrap_or_default();
    format!("{events} in {table} of partition {topic}{partition}, which nobody counts")
}

#[cfg(test)]
mod tests {
    use click_store::counting::LedgerEntry;
    use proto_schemas::Kind;

    use super::*;

    fn books() -> PartitionBooks {
        PartitionBooks {
            at: TopicPartition::new("ad-clicks", 0),
            kind: Kind::Click,
            next_offset: 10,
            ledger: LedgerEntry { stored: 7, duplicates: 2, dead: 1, absent: 0 },
            totals: 7,
            rows: Some(7),
            ads: Vec::new(),
        }
    }

    fn differences(books: &PartitionBooks, log: Log) -> Vec<String> {
        let logs = [(books.at.clone(), log)].into_iter().collect();
        Line::counted(books, Some(&logs), Some(&RedisState::Behind(3))).differences
    }

    #[test]
    fn a_lag_is_no_difference_and_a_log_that_was_cut_is() {
        let log = |start, end| Log { start, end };

        assert_eq!(differences(&books(), log(0, 10)), [""; 0]);
        assert_eq!(differences(&books(), log(10, 25)), [""; 0]);
        assert_eq!(
            differences(&books(), log(0, 8)),
            ["the log ends 2 before what is counted: it was cut or made again"]
        );
        assert_eq!(
            differences(&books(), log(12, 25)),
            ["the log begins 2 after what is counted: those expired"]
        );
    }

    #[test]
    fn every_difference_of_the_books_is_said() {
        let books = PartitionBooks { next_offset: 12, totals: 8, rows: Some(6), ..books() };

        assert_eq!(
            differences(&books, Log { start: 0, end: 12 }),
            ["2 offsets are in no ledger", "7 stored, 8 in the totals", "6 rows, 8 in the totals"]
        );
    }

    #[test]
    fn a_partition_that_nobody_has_seen_yet_lags_by_all_it_holds() {
        let at = TopicPartition::new("ad-clicks", 3);

        let line = Line::unseen(&at, Log { start: 0, end: 5 });

        assert_eq!((line.lag, line.differences.len(), line.next_offset), (Some(5), 0, None));
        assert_eq!(Line::unseen(&at, Log { start: 1, end: 5 }).differences.len(), 1);
    }
}
