//! The totals in Redis: a projection of Postgres that can be lost at any time.
//!
//! For each Kafka partition one hash: ad → events, and in the same hash the offset up to which it
//! counts and the epoch it belongs to. Only two scripts write it, and both are harmless when a
//! command arrives late or twice.

use std::collections::HashMap;

use fred::{interfaces::HashesInterface, types::Value, types::scripts::Script};
use proto_schemas::{AdId, Kind};
use uuid::Uuid;

use crate::{
    Redis, StoreError, TopicPartition,
    totals::{PartitionTotals, Snapshot, View},
};

/// Field of a hash that holds the epoch.
const EPOCH: &str = "epoch";
/// Field of a hash that holds the offset.
const OFFSET: &str = "offset";

/// What a hash says of itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Mark {
    pub epoch: Uuid,
    /// The first offset that is not in it.
    pub offset: i64,
}

/// One counted batch of one partition.
#[derive(Clone, Debug)]
pub struct Advance {
    pub at: TopicPartition,
    /// The epoch that the counting transaction returned.
    pub epoch: Uuid,
    /// Where the batch began.
    pub expected: i64,
    /// Where it ended: last record plus one.
    pub new: i64,
    /// New events of each ad.
    pub increments: Vec<(AdId, i64)>,
}

/// What [`Projection::advance`] found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Advanced {
    /// The batch was added.
    Applied,
    /// The hash counts this batch already, and exactly up to its end.
    Already,
    /// The hash counts further than this batch: to the offset named here.
    Further(i64),
    /// Another epoch, no hash, or an offset from which this batch does not follow.
    Gap,
}

/// The totals in Redis. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Projection {
    redis: Redis,
    advance: Script,
    replace: Script,
    read: Script,
}

impl Projection {
    pub fn new(redis: Redis) -> Self {
        Self {
            redis,
            advance: Script::from_lua(include_str!("scripts/advance.lua")),
            replace: Script::from_lua(include_str!("scripts/replace.lua")),
            read: Script::from_lua(include_str!("scripts/read.lua")),
        }
    }

    /// Adds a batch, if the hash stands exactly where the batch began.
    pub async fn advance(&self, batch: &Advance) -> Result<Advanced, StoreError> {
        let mut arguments =
            vec![batch.epoch.to_string(), batch.expected.to_string(), batch.new.to_string()];
        push_totals(&mut arguments, &batch.increments);
        let key = self.redis.keys().totals(&batch.at);
        let (outcome, offset): (i64, i64) =
            self.advance.evalsha_with_reload(self.redis.client(), key, arguments).await?;
        match outcome {
            0 => Ok(Advanced::Gap),
            1 => Ok(Advanced::Applied),
            2 if offset == batch.new => Ok(Advanced::Already),
            2 => Ok(Advanced::Further(offset)),
            _ => Err(StoreError::Malformed("the answer of a script")),
        }
    }

    /// Writes a partition anew, if its hash still is as it was `seen`; says whether it was.
    ///
    /// `seen` must have been read before the totals were: that is what keeps an old snapshot from
    /// overwriting a newer hash.
    pub async fn replace(
        &self,
        at: &TopicPartition,
        seen: Option<Mark>,
        totals: &PartitionTotals,
    ) -> Result<bool, StoreError> {
        let (seen_epoch, seen_offset) = match seen {
            Some(mark) => (mark.epoch.to_string(), mark.offset.to_string()),
            None => (String::new(), String::new()),
        };
        let mut arguments =
            vec![seen_epoch, seen_offset, totals.epoch.to_string(), totals.next_offset.to_string()];
        push_totals(&mut arguments, &totals.events);
        let key = self.redis.keys().totals(at);
        let replaced: i64 =
            self.replace.evalsha_with_reload(self.redis.client(), key, arguments).await?;
        Ok(replaced == 1)
    }

    /// Returns what the hash of a partition says of itself; `None` where there is none, or none that
    /// makes sense.
    pub async fn peek(&self, at: &TopicPartition) -> Result<Option<Mark>, StoreError> {
        let key = self.redis.keys().totals(at);
        let (epoch, offset): (Option<String>, Option<String>) =
            self.redis.client().hmget(key, vec![EPOCH, OFFSET]).await?;
        let epoch = epoch.and_then(|it| it.parse().ok());
        let offset = offset.and_then(|it| it.parse().ok());
        Ok(epoch.zip(offset).map(|(epoch, offset)| Mark { epoch, offset }))
    }

    /// Returns the totals that the hash of a partition holds, with its epoch and offset; `None` where
    /// there is none, or none that says an epoch and an offset.
    ///
    /// # Errors
    ///
    /// [`StoreError::Malformed`] where one of its fields is no total.
    pub async fn totals_of(
        &self,
        at: &TopicPartition,
    ) -> Result<Option<PartitionTotals>, StoreError> {
        let key = self.redis.keys().totals(at);
        let hash: HashMap<String, Value> = self.redis.client().hgetall(key).await?;
        let epoch = hash.get(EPOCH).and_then(Value::as_string).and_then(|it| it.parse().ok());
        let offset = hash.get(OFFSET).and_then(Value::as_i64);
        let Some((epoch, next_offset)) = epoch.zip(offset) else { return Ok(None) };
        let events = hash
            .iter()
            .filter(|(field, _)| *field != EPOCH && *field != OFFSET)
            .map(|(field, value)| Ok((ad_of(field)?, total_of(value)?.cast_signed())))
            .collect::<Result<_, StoreError>>()?;
        Ok(Some(PartitionTotals { epoch, next_offset, events }))
    }

    /// Returns the totals of every ad, all as they were at one moment; `None` unless every partition
    /// of `view` is there, in the epoch of `view`. Never a partial number.
    pub async fn snapshot(&self, view: &View) -> Result<Option<Snapshot>, StoreError> {
        if view.partitions.is_empty() {
            return Ok(None);
        }
        let keys: Vec<String> =
            view.partitions.iter().map(|it| self.redis.keys().totals(&it.at)).collect();
        let hashes: Vec<HashMap<String, Value>> =
            self.read.evalsha_with_reload(self.redis.client(), keys, Vec::<String>::new()).await?;
        if hashes.len() != view.partitions.len() {
            return Err(StoreError::Malformed("the answer of a script"));
        }

        let mut snapshot = Snapshot::empty(view);
        for (partition, hash) in view.partitions.iter().zip(hashes) {
            let Some(offset) = add_hash(&mut snapshot, partition.kind, &hash, view.epoch)? else {
                return Ok(None);
            };
            snapshot.offsets.push(offset);
        }
        Ok(Some(snapshot))
    }
}

/// Adds one partition's hash and returns its offset; `None` where it is absent or of another epoch.
fn add_hash(
    snapshot: &mut Snapshot,
    kind: Kind,
    hash: &HashMap<String, Value>,
    epoch: Uuid,
) -> Result<Option<i64>, StoreError> {
    let held = hash.get(EPOCH).and_then(Value::as_string);
    if held.and_then(|it| it.parse().ok()) != Some(epoch) {
        return Ok(None);
    }
    for (field, value) in hash {
        if field == EPOCH || field == OFFSET {
            continue;
        }
        snapshot.add(ad_of(field)?, kind, total_of(value)?);
    }
    Ok(hash.get(OFFSET).and_then(Value::as_i64))
}

fn ad_of(field: &str) -> Result<AdId, StoreError> {
    let ad = field.parse().ok().and_then(AdId::new);
    ad.ok_or(StoreError::Malformed("a total in redis"))
}

fn total_of(value: &Value) -> Result<u64, StoreError> {
    value.as_u64().ok_or(StoreError::Malformed("a total in redis"))
}

fn push_totals(arguments: &mut Vec<String>, totals: &[(AdId, i64)]) {
    for (ad, events) in totals {
        arguments.push(ad.to_string());
        arguments.push(events.to_string());
    }
}
