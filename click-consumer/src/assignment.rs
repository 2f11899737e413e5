//! Which partitions are ours, and what is happening with each: shared by the threads and tasks of
//! one consumer.
//!
//! Every time a partition is given to us or is to be read from another place, it gets a new
//! *generation*. Whatever was read under an earlier one is dropped by whoever holds it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;

use crate::{
    cursor::{Start, StopReason},
    partition::Partition,
};

/// The partitions of this consumer. Cheap to clone; clones share the same state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Assignment(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Bounded by the partitions of the topics.
    slots: Mutex<HashMap<Partition, Slot>>,
    generations: AtomicU64,
    /// Counts changes that concern the reading thread.
    changes: AtomicU64,
    wanted: Notify,
}

#[derive(Debug)]
struct Slot {
    generation: u64,
    stage: Stage,
}

/// What is happening with a partition.
#[derive(Debug)]
enum Stage {
    /// Postgres has to be asked where it starts.
    Wanted,
    /// The reading thread has to seek there.
    Ready(Start),
    /// It is read; `position` is the `next_offset` that Postgres must have while nothing of it is
    /// being stored.
    Reading { position: i64 },
    /// It is not read: somebody must look.
    Stopped,
}

/// How many partitions are in each stage.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Stages {
    pub(crate) starting: usize,
    pub(crate) reading: usize,
    pub(crate) stopped: usize,
}

impl Assignment {
    /// Kafka gave us these partitions.
    pub(crate) fn assigned(&self, partitions: &[Partition]) {
        let mut slots = self.slots();
        for &partition in partitions {
            slots.insert(partition, self.wanted_slot());
        }
        drop(slots);
        self.changed();
        self.0.wanted.notify_one();
    }

    /// Kafka took these partitions away.
    pub(crate) fn revoked(&self, partitions: &[Partition]) {
        let mut slots = self.slots();
        for partition in partitions {
            slots.remove(partition);
        }
        drop(slots);
        self.changed();
    }

    /// Reads a partition anew from where Postgres says, unless that has been asked for already or it
    /// is no longer ours. Everything read so far is dropped.
    pub(crate) fn restart(&self, partition: Partition, generation: u64) {
        let mut slots = self.slots();
        if let Some(slot) = slots.get_mut(&partition)
            && slot.generation == generation
        {
            *slot = self.wanted_slot();
        }
        drop(slots);
        self.changed();
        self.0.wanted.notify_one();
    }

    /// Reads every partition anew, also those that stopped.
    pub(crate) fn restart_all(&self) {
        for slot in self.slots().values_mut() {
            *slot = self.wanted_slot();
        }
        self.changed();
        self.0.wanted.notify_one();
    }

    /// Waits until some partition may want a start. Cancel safe.
    pub(crate) async fn start_wanted(&self) {
        self.0.wanted.notified().await;
    }

    /// The partitions that want a start, each with its generation.
    pub(crate) fn wanted(&self) -> Vec<(Partition, u64)> {
        let slots = self.slots();
        let wanted = slots.iter().filter(|(_, slot)| matches!(slot.stage, Stage::Wanted));
        wanted.map(|(&partition, slot)| (partition, slot.generation)).collect()
    }

    /// Postgres was asked: the reading thread may seek.
    pub(crate) fn ready(&self, partition: Partition, generation: u64, start: Start) {
        self.set_stage(partition, generation, Stage::Ready(start));
    }

    /// A partition is not read any more, until it is assigned again.
    pub(crate) fn stopped(&self, partition: Partition, generation: u64, reason: &StopReason) {
        if self.set_stage(partition, generation, Stage::Stopped) {
            tracing::error!(
                kafka.partition = partition.number,
                event.kind = %partition.kind,
                %reason,
                "stopped counting a partition: somebody must look \
                 (docs/ARCHITECTURE.md, where a partition starts)"
            );
        }
    }

    /// The partitions that wait for a seek.
    pub(crate) fn ready_to_seek(&self) -> Vec<(Partition, u64, Start)> {
        self.slots()
            .iter()
            .filter_map(|(&partition, slot)| match &slot.stage {
                Stage::Ready(start) => Some((partition, slot.generation, start.clone())),
                _ => None,
            })
            .collect()
    }

    /// The reading thread has sought; says whether the partition still is ours to read.
    pub(crate) fn reading(&self, partition: Partition, generation: u64, position: i64) -> bool {
        self.set_stage(partition, generation, Stage::Reading { position })
    }

    /// A batch was committed.
    pub(crate) fn stored(&self, partition: Partition, generation: u64, next_offset: i64) {
        if let Some(slot) = self.slots().get_mut(&partition)
            && slot.generation == generation
            && let Stage::Reading { position } = &mut slot.stage
        {
            *position = next_offset;
        }
    }

    /// The partitions that are read, each with its generation and position.
    pub(crate) fn positions(&self) -> HashMap<Partition, (u64, i64)> {
        self.slots()
            .iter()
            .filter_map(|(&partition, slot)| match slot.stage {
                Stage::Reading { position } => Some((partition, (slot.generation, position))),
                _ => None,
            })
            .collect()
    }

    /// Whether what was read of a partition under `generation` is still ours to count.
    pub(crate) fn is_current(&self, partition: Partition, generation: u64) -> bool {
        self.slots().get(&partition).is_some_and(|slot| slot.generation == generation)
    }

    /// The partitions whose place in Postgres is known to be ours to project.
    pub(crate) fn projected(&self) -> Vec<Partition> {
        let slots = self.slots();
        let known = slots.iter().filter(|(_, slot)| !matches!(slot.stage, Stage::Wanted));
        known.map(|(&partition, _)| partition).collect()
    }

    pub(crate) fn stages(&self) -> Stages {
        let mut stages = Stages::default();
        for slot in self.slots().values() {
            match slot.stage {
                Stage::Wanted | Stage::Ready(_) => stages.starting += 1,
                Stage::Reading { .. } => stages.reading += 1,
                Stage::Stopped => stages.stopped += 1,
            }
        }
        stages
    }

    /// A number that is another one after every change that concerns the reading thread.
    pub(crate) fn changes(&self) -> u64 {
        self.0.changes.load(Ordering::Acquire)
    }

    fn changed(&self) {
        self.0.changes.fetch_add(1, Ordering::Release);
    }

    fn set_stage(&self, partition: Partition, generation: u64, stage: Stage) -> bool {
        let mut slots = self.slots();
        let slot = slots.get_mut(&partition).filter(|slot| slot.generation == generation);
        let ours = slot.map(|slot| slot.stage = stage).is_some();
        drop(slots);
        self.changed();
        ours
    }

    fn wanted_slot(&self) -> Slot {
        let generation = self.0.generations.fetch_add(1, Ordering::Relaxed);
        Slot { generation, stage: Stage::Wanted }
    }

    /// No method panics while it holds the lock, so what a poisoned lock guards is whole.
    fn slots(&self) -> MutexGuard<'_, HashMap<Partition, Slot>> {
        self.0.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proto_schemas::Kind;

    use super::*;

    const P: Partition = Partition { kind: Kind::Click, number: 3 };

    fn start(next_offset: i64) -> Start {
        Start { next_offset, anchor: None }
    }

    fn generation(assignment: &Assignment) -> u64 {
        assignment.wanted()[0].1
    }

    #[test]
    fn a_partition_goes_from_wanted_to_read() {
        let assignment = Assignment::default();
        assignment.assigned(&[P]);
        let generation = generation(&assignment);

        assignment.ready(P, generation, start(7));
        assert_eq!(assignment.ready_to_seek(), [(P, generation, start(7))]);
        assert!(assignment.reading(P, generation, 7));
        assignment.stored(P, generation, 9);

        assert_eq!(assignment.positions()[&P], (generation, 9));
        assert_eq!(assignment.stages(), Stages { reading: 1, ..Stages::default() });
    }

    #[test]
    fn what_was_read_before_a_restart_no_longer_counts() {
        let assignment = Assignment::default();
        assignment.assigned(&[P]);
        let old = generation(&assignment);
        assert!(assignment.reading(P, old, 7));

        assignment.restart(P, old);
        assignment.restart(P, old); // Asked for twice, done once.

        assert!(!assignment.is_current(P, old));
        assert_eq!(generation(&assignment), old + 1);
        assert!(!assignment.reading(P, old, 7), "the answer to the old start comes too late");
    }

    #[test]
    fn a_partition_that_comes_back_is_another_generation() {
        let assignment = Assignment::default();
        assignment.assigned(&[P]);
        let first = generation(&assignment);

        assignment.revoked(&[P]);
        assert!(!assignment.is_current(P, first));
        assignment.assigned(&[P]);

        assert_ne!(generation(&assignment), first);
    }

    #[test]
    fn a_partition_stops_only_under_the_generation_that_was_looked_at() {
        let assignment = Assignment::default();
        assignment.assigned(&[P]);
        let old = generation(&assignment);
        assignment.restart(P, old);

        assignment.stopped(P, old, &StopReason::OtherRecord { offset: 1 });
        assert_eq!(assignment.stages(), Stages { starting: 1, ..Stages::default() });

        assignment.stopped(P, generation(&assignment), &StopReason::OtherRecord { offset: 1 });
        assert_eq!(assignment.stages(), Stages { stopped: 1, ..Stages::default() });
    }
}
