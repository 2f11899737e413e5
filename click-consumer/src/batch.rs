//! Records on their way into one transaction. No I/O and no clock: the caller passes the time.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use click_store::offsets::Anchor;
use service_kit::traces::{MAX_LINKS, TraceContext};

use crate::{partition::Partition, record::Record};

/// When a batch is large or old enough.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchLimits {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
    /// Of its first record.
    pub(crate) age: Duration,
}

/// Records of several partitions, each partition's without a break.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// In the order in which the fences are taken.
    runs: BTreeMap<Partition, Run>,
    /// Who sent the first of those records whose traces are recorded: [`MAX_LINKS`] at most.
    traces: Vec<(Partition, TraceContext)>,
    records: usize,
    bytes: usize,
    opened: Option<Instant>,
}

/// Records of one partition, in order, none left out.
#[derive(Debug)]
pub(crate) struct Run {
    /// The assignment of the partition under which they were read.
    pub(crate) generation: u64,
    /// `next_offset` as it must be for this run to follow.
    pub(crate) expected: i64,
    /// Never empty.
    pub(crate) records: Vec<Record>,
}

impl Batch {
    /// Adds the record that follows what was read of the partition so far.
    ///
    /// `expected` is where the run begins if this record is its first: the offset after the one
    /// that was read before it. Offsets between the two hold no record.
    pub(crate) fn push(
        &mut self,
        partition: Partition,
        generation: u64,
        expected: i64,
        record: Record,
        now: impl FnOnce() -> Instant,
    ) {
        self.opened.get_or_insert_with(now);
        self.records += 1;
        self.bytes += record.raw.size();
        self.runs
            .entry(partition)
            .or_insert_with(|| Run { generation, expected, records: Vec::new() })
            .records
            .push(record);
    }

    /// Tells whether the trace of one more record would be kept.
    pub(crate) fn takes_traces(&self) -> bool {
        self.traces.len() < MAX_LINKS
    }

    /// Adds the trace of the record that was just added, where it is recorded.
    pub(crate) fn push_trace(&mut self, partition: Partition, trace: TraceContext) {
        if trace.is_sampled() && self.takes_traces() {
            self.traces.push((partition, trace));
        }
    }

    /// The traces of its records, as far as they were kept.
    pub(crate) fn traces(&self) -> impl Iterator<Item = &TraceContext> {
        self.traces.iter().map(|(_, trace)| trace)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records == 0
    }

    pub(crate) fn records(&self) -> usize {
        self.records
    }

    pub(crate) fn is_full(&self, limits: BatchLimits) -> bool {
        self.records >= limits.records || self.bytes >= limits.bytes
    }

    /// When the batch is old enough; `None` while it is empty.
    pub(crate) fn deadline(&self, limits: BatchLimits) -> Option<Instant> {
        self.opened.map(|it| it + limits.age)
    }

    pub(crate) fn runs(&self) -> impl Iterator<Item = (Partition, &Run)> {
        self.runs.iter().map(|(&partition, run)| (partition, run))
    }

    pub(crate) fn partitions(&self) -> Vec<Partition> {
        self.runs.keys().copied().collect()
    }

    /// Drops the partitions for which `keep` says no.
    pub(crate) fn retain(&mut self, keep: impl Fn(Partition, u64) -> bool) {
        self.runs.retain(|&partition, run| keep(partition, run.generation));
        self.traces.retain(|(partition, _)| self.runs.contains_key(partition));
        self.count();
    }

    /// Cuts the batch in two, each partition's earlier records in the first half.
    ///
    /// The halves must be counted in this order. A batch of one record leaves the second half
    /// empty. The traces stay behind.
    pub(crate) fn split(self) -> (Self, Self) {
        let (mut first, mut second) = (Self::default(), Self::default());
        let mut room = self.records.div_ceil(2);
        for (partition, mut run) in self.runs {
            let rest = run.records.split_off(room.min(run.records.len()));
            room -= run.records.len();
            let (generation, middle) = (run.generation, run.end());
            if !run.records.is_empty() {
                first.runs.insert(partition, run);
            }
            if !rest.is_empty() {
                let run = Run { generation, expected: middle, records: rest };
                second.runs.insert(partition, run);
            }
        }
        for half in [&mut first, &mut second] {
            half.opened = self.opened;
            half.count();
        }
        (first, second)
    }

    /// The only record; `None` unless there is exactly one.
    pub(crate) fn only_record(&mut self) -> Option<&mut Record> {
        let run = self.runs.values_mut().next()?;
        match run.records.as_mut_slice() {
            [record] if self.records == 1 => Some(record),
            _ => None,
        }
    }

    fn count(&mut self) {
        let records = || self.runs.values().flat_map(|it| &it.records);
        (self.records, self.bytes) = (records().count(), records().map(|it| it.raw.size()).sum());
        if self.is_empty() {
            self.opened = None;
        }
    }
}

impl Run {
    /// `next_offset` after this run: the last record plus one.
    pub(crate) fn end(&self) -> i64 {
        self.records.last().map_or(self.expected, |it| it.offset + 1)
    }

    /// Offsets that the run passes although they hold no record.
    pub(crate) fn absent(&self) -> i64 {
        self.end() - self.expected - self.records.len().cast_signed() as i64
    }

    /// What Postgres keeps of the last record.
    pub(crate) fn anchor(&self) -> Option<Anchor> {
        self.records.last().map(|it| it.raw.anchor())
    }
}

#[cfg(test)]
mod tests {
    use proto_schemas::Kind;

    use super::*;
    use crate::record::{DeathReason, RawRecord};

    const LIMITS: BatchLimits =
        BatchLimits { records: 3, bytes: 1000, age: Duration::from_millis(100) };

    fn partition(number: i32) -> Partition {
        Partition { kind: Kind::Click, number }
    }

    fn record(offset: i64) -> Record {
        let raw = RawRecord { value: Some(vec![0; 10].into()), ..RawRecord::default() };
        Record { offset, raw, content: Err(DeathReason::Undecodable.with("a test")) }
    }

    fn batch(records: &[(i32, i64)]) -> Batch {
        let mut batch = Batch::default();
        for &(number, offset) in records {
            batch.push(partition(number), 1, offset, record(offset), Instant::now);
        }
        batch
    }

    fn recorded() -> TraceContext {
        let line = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        TraceContext::from_line(line).expect("a context")
    }

    fn shape(batch: &Batch) -> Vec<(i32, i64, Vec<i64>)> {
        batch
            .runs()
            .map(|(it, run)| {
                (it.number, run.expected, run.records.iter().map(|it| it.offset).collect())
            })
            .collect()
    }

    #[test]
    fn a_batch_is_full_by_count_or_by_bytes() {
        assert!(!batch(&[(0, 1), (0, 2)]).is_full(LIMITS));
        assert!(batch(&[(0, 1), (0, 2), (1, 1)]).is_full(LIMITS));
        assert!(batch(&[(0, 1), (0, 2)]).is_full(BatchLimits { bytes: 20, ..LIMITS }));
    }

    #[test]
    fn the_deadline_belongs_to_the_first_record() {
        let (start, mut batch) = (Instant::now(), Batch::default());
        assert_eq!(batch.deadline(LIMITS), None);

        batch.push(partition(0), 1, 0, record(0), || start);
        batch.push(partition(0), 1, 1, record(1), || start + Duration::from_secs(9));

        assert_eq!(batch.deadline(LIMITS), Some(start + Duration::from_millis(100)));
    }

    #[test]
    fn offsets_without_a_record_are_passed_and_counted() {
        let mut batch = Batch::default();
        batch.push(partition(0), 1, 5, record(7), Instant::now);
        batch.push(partition(0), 1, 8, record(10), Instant::now);

        let (_, run) = batch.runs().next().expect("one run");

        assert_eq!((run.expected, run.end(), run.absent()), (5, 11, 4));
    }

    #[test]
    fn halves_follow_each_other() {
        let (first, second) = batch(&[(0, 4), (0, 5), (1, 8), (0, 6), (1, 9)]).split();

        assert_eq!(shape(&first), [(0, 4, vec![4, 5, 6])]);
        assert_eq!(shape(&second), [(1, 8, vec![8, 9])]);

        let (first, second) = first.split();
        assert_eq!(shape(&first), [(0, 4, vec![4, 5])]);
        assert_eq!(shape(&second), [(0, 6, vec![6])]);
        assert_eq!((first.records(), second.records()), (2, 1));
    }

    #[test]
    fn a_single_record_is_isolated() {
        let (mut first, second) = batch(&[(3, 7)]).split();

        assert!(second.is_empty());
        assert_eq!(first.only_record().map(|it| it.offset), Some(7));
        assert!(batch(&[(0, 1), (1, 1)]).only_record().is_none());
    }

    #[test]
    fn a_batch_knows_who_sent_its_first_records_of_recorded_traces_and_no_more() {
        let mut batch = batch(&[(0, 4)]);

        batch.push_trace(partition(0), TraceContext::new_root());
        assert_eq!(batch.traces().count(), 0, "nobody records it");
        for _ in 0..=MAX_LINKS {
            batch.push_trace(partition(0), recorded());
        }
        assert_eq!(batch.traces().count(), MAX_LINKS);
        assert!(!batch.takes_traces());
    }

    #[test]
    fn a_partition_that_is_gone_leaves_the_batch() {
        let mut batch = batch(&[(0, 4), (1, 8), (1, 9)]);
        for partition in [partition(0), partition(1)] {
            batch.push_trace(partition, recorded());
        }

        batch.retain(|partition, generation| partition.number == 0 && generation == 1);

        assert_eq!(shape(&batch), [(0, 4, vec![4])]);
        assert_eq!(batch.records(), 1);

        assert_eq!(batch.traces().count(), 1);

        batch.retain(|_, _| false);
        assert_eq!(batch.deadline(LIMITS), None, "an empty batch is never due");
    }
}
