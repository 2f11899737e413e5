//! The rules of reading one partition: in order, nothing left out, from the record that was counted
//! last. No I/O.

use click_store::offsets::{Anchor, Position};

/// Where reading of a partition starts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Start {
    /// `next_offset` in Postgres.
    pub(crate) next_offset: i64,
    /// The record just before it, which is read again and must match; `None` where there is none to
    /// read.
    pub(crate) anchor: Option<Anchor>,
}

/// Why a partition cannot be counted on. Somebody must look: going on would lose clicks, or count
/// another topic's.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum StopReason {
    #[error(
        "the log begins at offset {low}, after the next one to count ({next_offset}): Kafka has \
         dropped events that were never counted"
    )]
    LogBeginsLater { low: i64, next_offset: i64 },
    #[error(
        "the log ends at offset {high}, before the next one to count ({next_offset}): the topic was \
         cut, or made again"
    )]
    LogEndsEarlier { high: i64, next_offset: i64 },
    #[error(
        "the record at offset {offset} is not the one that was counted there: the topic was made \
         again"
    )]
    OtherRecord { offset: i64 },
    #[error("the record at offset {offset}, which was counted last, is gone")]
    AnchorGone { offset: i64 },
}

impl Start {
    /// Decides from where Postgres says that counting stands, and from the first (`low`) and the
    /// next (`high`) offset of the log.
    pub(crate) fn decide(position: Position, low: i64, high: i64) -> Result<Self, StopReason> {
        let next_offset = position.next_offset;
        if low > next_offset {
            return Err(StopReason::LogBeginsLater { low, next_offset });
        }
        if high < next_offset {
            return Err(StopReason::LogEndsEarlier { high, next_offset });
        }
        // Where the log begins exactly at the next offset, the record before it has expired:
        // nothing is lost, and there is nothing to compare.
        let anchor = position.anchor.filter(|_| low < next_offset);
        Ok(Self { next_offset, anchor })
    }

    /// The first offset to read.
    pub(crate) fn read_from(&self) -> i64 {
        self.next_offset - i64::from(self.anchor.is_some())
    }
}

/// How far one partition has been read.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    /// The assignment of the partition under which it is read.
    pub(crate) generation: u64,
    next: i64,
    anchor: Option<Anchor>,
    /// The later offset that came instead of `next`, after which `next` was asked for again.
    came_instead: Option<i64>,
}

/// What to do with a record.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// Count it; a run that begins with it expects this `next_offset`.
    Count { expected: i64 },
    /// It was read before, or serves only to be compared.
    Skip,
    /// Something is missing before it: seek to this offset and read again.
    ReadAgain(i64),
    /// Stop reading this partition.
    Stop(StopReason),
}

impl Cursor {
    pub(crate) fn new(generation: u64, start: Start) -> Self {
        let next = start.read_from();
        Self { generation, next, anchor: start.anchor, came_instead: None }
    }

    /// Judges the record at `offset`; `anchor` gives what would be kept of it.
    ///
    /// A later offset than the expected one is either a record that was fetched before a seek, or a
    /// hole in the log (transaction markers, compaction). So it is asked for once more, and only where
    /// the very same offset comes again is it a hole, and passed.
    pub(crate) fn judge(&mut self, offset: i64, anchor: impl FnOnce() -> Anchor) -> Verdict {
        if offset < self.next {
            return Verdict::Skip;
        }
        if offset > self.next && self.came_instead != Some(offset) {
            self.came_instead = Some(offset);
            return Verdict::ReadAgain(self.next);
        }
        self.came_instead = None;
        match self.anchor.take() {
            Some(_) if offset > self.next => {
                Verdict::Stop(StopReason::AnchorGone { offset: self.next })
            }
            Some(counted) if counted != anchor() => {
                Verdict::Stop(StopReason::OtherRecord { offset })
            }
            Some(_) => {
                self.next = offset + 1;
                Verdict::Skip
            }
            None => {
                let expected = self.next;
                self.next = offset + 1;
                Verdict::Count { expected }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anchor(byte: u8) -> Anchor {
        Anchor { timestamp_ms: 5, hash: [byte; 32] }
    }

    fn position(next_offset: i64) -> Position {
        Position { next_offset, anchor: (next_offset > 0).then(|| anchor(1)) }
    }

    fn cursor(start: Start) -> Cursor {
        Cursor::new(1, start)
    }

    #[test]
    fn reading_starts_one_record_before_the_next_to_count() {
        let start = Start::decide(position(10), 0, 20).expect("it can start");

        assert_eq!(start.read_from(), 9);
        let mut cursor = cursor(start);
        assert_eq!(cursor.judge(9, || anchor(1)), Verdict::Skip);
        assert_eq!(cursor.judge(10, || anchor(2)), Verdict::Count { expected: 10 });
    }

    #[test]
    fn a_partition_that_was_never_counted_starts_at_its_first_offset() {
        let start = Start::decide(position(0), 0, 0).expect("it can start");

        assert_eq!(start.read_from(), 0);
        assert_eq!(cursor(start).judge(0, || anchor(2)), Verdict::Count { expected: 0 });
    }

    #[test]
    fn a_log_that_expired_up_to_the_next_offset_has_lost_nothing() {
        let start = Start::decide(position(10), 10, 12).expect("it can start");

        assert_eq!((start.read_from(), start.anchor), (10, None));
    }

    #[test]
    fn a_log_that_lost_uncounted_records_stops_the_partition() {
        assert_eq!(
            Start::decide(position(10), 11, 20),
            Err(StopReason::LogBeginsLater { low: 11, next_offset: 10 })
        );
    }

    #[test]
    fn a_log_that_is_shorter_than_what_was_counted_stops_the_partition() {
        assert_eq!(
            Start::decide(position(10), 0, 9),
            Err(StopReason::LogEndsEarlier { high: 9, next_offset: 10 })
        );
    }

    #[test]
    fn a_topic_that_was_made_again_is_recognised_by_its_last_counted_record() {
        let mut cursor = cursor(Start::decide(position(10), 0, 20).expect("it can start"));

        let verdict = cursor.judge(9, || anchor(7));

        assert_eq!(verdict, Verdict::Stop(StopReason::OtherRecord { offset: 9 }));
    }

    #[test]
    fn a_record_fetched_before_a_seek_does_not_count_as_a_hole() {
        let mut cursor = cursor(Start::decide(position(10), 0, 99).expect("it can start"));

        assert_eq!(cursor.judge(40, || anchor(3)), Verdict::ReadAgain(9));
        assert_eq!(cursor.judge(41, || anchor(3)), Verdict::ReadAgain(9));
        assert_eq!(cursor.judge(9, || anchor(1)), Verdict::Skip);
        assert_eq!(cursor.judge(10, || anchor(2)), Verdict::Count { expected: 10 });
    }

    #[test]
    fn a_hole_that_is_there_at_the_second_look_is_passed() {
        let mut cursor = cursor(Start { next_offset: 10, anchor: None });

        assert_eq!(cursor.judge(12, || anchor(3)), Verdict::ReadAgain(10));
        assert_eq!(cursor.judge(12, || anchor(3)), Verdict::Count { expected: 10 });
        assert_eq!(cursor.judge(13, || anchor(3)), Verdict::Count { expected: 13 });
    }

    #[test]
    fn a_record_that_comes_twice_counts_once() {
        let mut cursor = cursor(Start { next_offset: 10, anchor: None });

        assert_eq!(cursor.judge(10, || anchor(3)), Verdict::Count { expected: 10 });
        assert_eq!(cursor.judge(10, || anchor(3)), Verdict::Skip);
    }

    #[test]
    fn an_anchor_that_expired_meanwhile_stops_the_partition() {
        let mut cursor = cursor(Start::decide(position(10), 0, 99).expect("it can start"));

        assert_eq!(cursor.judge(15, || anchor(3)), Verdict::ReadAgain(9));
        assert_eq!(
            cursor.judge(15, || anchor(3)),
            Verdict::Stop(StopReason::AnchorGone { offset: 9 })
        );
    }
}
