//! Makes Redis agree with Postgres again, one partition at a time.

use std::collections::HashMap;

use deadpool_postgres::Pool;
use futures::future::join_all;
use tracing::warn;
use uuid::Uuid;

use crate::{Projection, StoreError, TopicPartition, offsets, projection::Mark, totals};

/// How often a repair looks again after somebody else wrote in between. The next comparison, seconds
/// later, tries anew.
const ATTEMPTS: usize = 3;

/// What [`repair`] did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Repaired {
    /// Redis agreed already.
    Agreed,
    /// The hash was written anew.
    Replaced,
    /// Somebody else wrote each time in between, or the partition has no row.
    LeftAlone,
}

/// How a partition in Redis differs from Postgres.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Difference {
    /// It is absent, of another epoch, or ahead: nothing that is under way will mend it.
    Wrong,
    /// It stands at `offset`, this many behind Postgres: perhaps an increment is still on its way.
    Behind { offset: i64, by: i64 },
}

/// Compares partitions in Redis with Postgres and returns those that differ.
///
/// Redis is asked first: what Postgres says afterwards can then only be further. A single key that
/// cannot be read (somebody put another type there) does not keep the others from being compared.
pub async fn compare(
    pool: &Pool,
    projection: &Projection,
    partitions: &[TopicPartition],
) -> Result<HashMap<TopicPartition, Difference>, StoreError> {
    let mut seen = Vec::with_capacity(partitions.len());
    let mut failures = Vec::new();
    for (at, mark) in
        partitions.iter().zip(join_all(partitions.iter().map(|it| projection.peek(it))).await)
    {
        match mark {
            Ok(mark) => seen.push((at, mark)),
            Err(error) => failures.push(error),
        }
    }
    if seen.is_empty()
        && let Some(error) = failures.pop()
    {
        return Err(error);
    }
    for error in failures {
        warn!(%error, "a partition in redis cannot be compared");
    }
    let epoch = totals::epoch(pool).await?;
    let positions = offsets::read(pool, partitions).await?;

    let mut differences = HashMap::new();
    for (at, mark) in seen {
        let Some(position) = positions.get(at) else { continue };
        if let Some(difference) = difference(mark, epoch, position.next_offset) {
            differences.insert(at.clone(), difference);
        }
    }
    Ok(differences)
}

fn difference(mark: Option<Mark>, epoch: Uuid, next_offset: i64) -> Option<Difference> {
    match mark {
        Some(mark) if mark.epoch == epoch && mark.offset == next_offset => None,
        Some(mark) if mark.epoch == epoch && mark.offset < next_offset => {
            Some(Difference::Behind { offset: mark.offset, by: next_offset - mark.offset })
        }
        _ => Some(Difference::Wrong),
    }
}

/// Writes a partition's hash anew from Postgres, where it differs.
///
/// Where Redis is ahead in the same epoch, Postgres has lost what Redis counted (it was restored,
/// or failed over to a replica that was behind): the epoch is renewed, so that no reader believes
/// any of it, and every owner writes its partitions anew.
///
/// # Cancellation
///
/// Harmless at any point: the hash is written by one atomic script or not at all.
pub async fn repair(
    pool: &Pool,
    projection: &Projection,
    at: &TopicPartition,
) -> Result<Repaired, StoreError> {
    for _ in 0..ATTEMPTS {
        let seen = projection.peek(at).await?;
        // From one statement, and after `seen`: `replace` refuses where the hash has changed since.
        let Some(totals) = totals::of_partition(pool, at).await? else {
            return Ok(Repaired::LeftAlone);
        };
        let now = Mark { epoch: totals.epoch, offset: totals.next_offset };
        match seen {
            Some(mark) if mark == now => return Ok(Repaired::Agreed),
            Some(mark) if mark.epoch == now.epoch && mark.offset > now.offset => {
                let renewed =
                    offsets::renew_epoch_if(pool, now.epoch, "redis was ahead of postgres").await?;
                if renewed {
                    warn!(
                        kafka.topic = %at.topic,
                        kafka.partition = at.partition,
                        redis.offset = mark.offset,
                        postgres.offset = now.offset,
                        "redis is ahead of postgres, which must have been set back: renewed the epoch"
                    );
                }
            }
            _ => {
                if projection.replace(at, seen, &totals).await? {
                    return Ok(Repaired::Replaced);
                }
            }
        }
    }
    Ok(Repaired::LeftAlone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_hash_that_is_behind_in_the_same_epoch_may_mend_itself() {
        let (ours, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mark = |epoch, offset| Some(Mark { epoch, offset });

        assert_eq!(difference(mark(ours, 7), ours, 7), None);
        assert_eq!(
            difference(mark(ours, 5), ours, 7),
            Some(Difference::Behind { offset: 5, by: 2 })
        );
        assert_eq!(difference(mark(ours, 8), ours, 7), Some(Difference::Wrong));
        assert_eq!(difference(mark(other, 7), ours, 7), Some(Difference::Wrong));
        assert_eq!(difference(None, ours, 0), Some(Difference::Wrong));
    }
}
