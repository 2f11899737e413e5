//! When an answer of Redis may be believed: the reader's rules, without any I/O.
//!
//! 1. *Whole:* every partition of `consumer_offsets` is in Redis with the current epoch, and all of
//!    them were read at one moment. `click_store::Projection::snapshot` sees to it.
//! 2. *Current:* the epoch is the one that Postgres told last. A view of another epoch that came
//!    while Redis answered makes that answer void.
//! 3. *Never back:* no partition stands below its mark, which is the highest offset that was shown,
//!    from either store, in this epoch. An epoch that is new begins with the offsets of Postgres,
//!    below which nothing was shown before.
//! 4. *Not late:* no partition stands below what Postgres told [`MAY_LAG`] ago or earlier. A Redis
//!    that takes no writes (no memory, a full disk, the wrong end of a failover) goes on answering
//!    reads, with numbers that grow old.
//!
//! Never above Postgres: increments go to Redis only after their COMMIT.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use click_store::{
    TopicPartition,
    totals::{Snapshot, Standing, View},
};

/// How long Redis may take to be told what Postgres has counted. After twice as long at the latest,
/// Postgres is asked instead.
///
/// Increments follow their COMMIT at once, and the owners mend what was lost within seconds; but an
/// owner that was killed is missed after 10 s.
const MAY_LAG: Duration = Duration::from_secs(10);

/// What is known of Postgres, and what was shown.
#[derive(Debug, Default)]
pub(crate) struct Trust {
    known: Option<Known>,
    /// How many answers of Postgres have come in.
    answers: u64,
}

/// Taken before Postgres is asked for its view. See [`Trust::polled`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket(u64);

/// Why an answer of Redis is not believed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Distrust {
    /// Rule 2: the epoch changed while Redis answered.
    NotCurrent,
    /// Rule 3: a partition stands below its mark.
    BehindMark,
    /// Rule 4: a partition stands where it stood long ago.
    Late,
}

/// How far each partition was counted at some time.
type Offsets = HashMap<TopicPartition, i64>;

#[derive(Debug)]
struct Known {
    view: Arc<View>,
    marks: Offsets,
    asked_at: Instant,
    /// What Redis must have by now.
    due: Offsets,
    /// What Redis must have [`MAY_LAG`] after Postgres was asked for it.
    next_due: (Instant, Offsets),
}

impl Trust {
    /// What Redis is to be asked for; `None` before Postgres has told it once.
    ///
    /// There is no age at which it stops being used. Where Postgres is away, nothing is counted and
    /// Redis goes on telling the truth. Where only this process is cut off, the epoch may be renewed
    /// behind its back, but then the owners write every hash anew within seconds, so that Redis
    /// itself stops matching this view: the hashes tell that it is out of date, and no clock could
    /// tell better. What remains is a reader that is cut off from a Postgres that was restored while
    /// no consumer runs; its `analytics_view_age_seconds` tells of it.
    pub(crate) fn view(&self) -> Option<Arc<View>> {
        self.known.as_ref().map(|it| Arc::clone(&it.view))
    }

    /// How long ago Postgres was asked for what is known.
    pub(crate) fn view_age(&self, now: Instant) -> Option<Duration> {
        self.known.as_ref().map(|it| now.saturating_duration_since(it.asked_at))
    }

    pub(crate) fn ticket(&self) -> Ticket {
        Ticket(self.answers)
    }

    /// Takes in what Postgres was asked for at `asked_at`, when `ticket` was taken.
    ///
    /// Dropped where a whole answer has come in since: the view may be the older of the two, and
    /// would bring back an epoch that is over, without its marks.
    pub(crate) fn polled(&mut self, ticket: Ticket, standing: Standing, asked_at: Instant) {
        if ticket.0 == self.answers {
            self.adopt(standing, asked_at);
        }
    }

    /// Takes in an answer of Postgres, which is shown as it is: it is the truth.
    ///
    /// Two of them never overlap, because one read is under way at a time.
    pub(crate) fn shown_from_postgres(&mut self, snapshot: &Snapshot, asked_at: Instant) {
        self.answers += 1;
        let standing = Standing { view: snapshot.view.clone(), offsets: snapshot.offsets.clone() };
        self.adopt(standing, asked_at);
        if let Some(known) = &mut self.known {
            known.raise_marks(snapshot);
        }
    }

    /// Says whether an answer of Redis may be shown, and takes it for shown where it may.
    pub(crate) fn judge(&mut self, snapshot: &Snapshot) -> Result<(), Distrust> {
        let known = self.known.as_mut().filter(|it| it.view.epoch == snapshot.view.epoch);
        let known = known.ok_or(Distrust::NotCurrent)?;
        let behind = |(at, offset): (&TopicPartition, i64)| {
            known.marks.get(at).is_some_and(|mark| offset < *mark)
        };
        if positions(snapshot).any(behind) {
            return Err(Distrust::BehindMark);
        }
        let late = |(at, offset): (&TopicPartition, i64)| {
            known.due.get(at).is_some_and(|due| offset < *due)
        };
        if positions(snapshot).any(late) {
            return Err(Distrust::Late);
        }
        known.raise_marks(snapshot);
        Ok(())
    }

    fn adopt(&mut self, standing: Standing, asked_at: Instant) {
        let Standing { view, offsets } = standing;
        let partitions = view.partitions.iter().map(|it| it.at.clone());
        let offsets: Offsets = partitions.zip(offsets).collect();
        match &mut self.known {
            // A partition that is new makes a new epoch, so here there is at most a new ad.
            Some(known) if known.view.epoch == view.epoch => {
                known.view = Arc::new(view);
                known.asked_at = asked_at;
                known.told(asked_at, offsets);
            }
            _ => {
                self.known = Some(Known {
                    view: Arc::new(view),
                    marks: offsets.clone(),
                    asked_at,
                    due: Offsets::new(),
                    next_due: (asked_at, offsets),
                });
            }
        }
    }
}

impl Known {
    /// Takes in how far Postgres has counted. Of what it tells, only so much is kept as rule 4 needs.
    fn told(&mut self, asked_at: Instant, offsets: Offsets) {
        if asked_at.saturating_duration_since(self.next_due.0) >= MAY_LAG {
            self.due = std::mem::replace(&mut self.next_due, (asked_at, offsets)).1;
        }
    }

    fn raise_marks(&mut self, snapshot: &Snapshot) {
        for (at, offset) in positions(snapshot) {
            match self.marks.get_mut(at) {
                Some(mark) => *mark = offset.max(*mark),
                None => drop(self.marks.insert(at.clone(), offset)),
            }
        }
    }
}

/// How far each partition is counted in an answer.
fn positions(snapshot: &Snapshot) -> impl Iterator<Item = (&TopicPartition, i64)> {
    let partitions = snapshot.view.partitions.iter().map(|it| &it.at);
    partitions.zip(snapshot.offsets.iter().copied())
}

#[cfg(test)]
#[path = "trust_tests.rs"]
mod tests;
