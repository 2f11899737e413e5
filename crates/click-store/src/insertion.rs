//! Rows of a batch: those that are new go in by COPY, and the unique key has the last word.
//!
//! COPY is twice as fast as `INSERT … ON CONFLICT DO NOTHING`, and fails as a whole where one event has
//! its row already. So what is given to it is first rid of what is twice in the batch, and of what
//! [`RecentEvents`] remembers and Postgres has. Where COPY fails all the same, its savepoint is rolled
//! back to and INSERT does it, which is right whatever is there.

use std::{
    collections::{HashMap, HashSet},
    pin::pin,
};

use futures::{SinkExt as _, future::try_join};
use proto_schemas::{DedupKey, Kind};
use tokio_postgres::error::SqlState;

use crate::{
    StoreError,
    counting::{CountingTransaction, Located, NewEvents},
    event_columns::EventColumns,
    event_copy::{chunks, copy_into},
    recent::RecentEvents,
};

impl CountingTransaction {
    /// Stores events of one kind, skipping those that have their row already, and returns how many
    /// were new.
    ///
    /// Of two that are the same, the one with the lower partition and offset is stored. Rows go in by
    /// primary key, so that two batches with events in common never wait for each other in a circle.
    pub async fn insert(
        &self,
        kind: Kind,
        mut events: Vec<Located<'_>>,
        recent: &mut RecentEvents,
    ) -> Result<Vec<NewEvents>, StoreError> {
        events.sort_unstable_by_key(|it| {
            (it.event.dedup_time, it.event.dedup_key, it.partition, it.offset)
        });
        events.dedup_by_key(|it| (it.event.dedup_time, it.event.dedup_key));
        let remembered: Vec<_> =
            events.iter().copied().filter(|it| recent.note(it.event.dedup_key)).collect();
        if !remembered.is_empty() {
            let stored = self.stored(kind, &remembered).await?;
            events.retain(|it| !stored.contains(&it.event.dedup_key));
        }
        if events.is_empty() {
            return Ok(Vec::new());
        }
        if !recent.is_wary() && self.copy(kind, &events).await? {
            return Ok(counted(&events));
        }
        let new = self.insert_what_is_new(kind, &events).await?;
        let all_new =
            new.iter().map(|it| it.events).sum::<i64>() == events.len().cast_signed() as i64;
        recent.surprised(!all_new);
        Ok(new)
    }

    /// Which of `events` have their row: one look-up by primary key for each.
    async fn stored(
        &self,
        kind: Kind,
        events: &[Located<'_>],
    ) -> Result<HashSet<DedupKey>, StoreError> {
        let columns = EventColumns::from(events);
        let rows = self.query(EventColumns::select_from(kind), &columns.key()).await?;
        rows.iter().map(|row| Ok(crate::dedup_key(row.try_get(0)?))).collect()
    }

    /// Stores `events`, or none of them where one has its row already; says which.
    ///
    /// Where another transaction that is still open has inserted one of them, this waits for its end.
    async fn copy(&self, kind: Kind, events: &[Located<'_>]) -> Result<bool, StoreError> {
        let client = self.client()?;
        let statement = client.prepare_cached(copy_into(kind)).await?;
        // One after the other on the connection, without waiting in between. Without the savepoint the
        // transaction has failed, and so does COPY.
        let begun = try_join(client.batch_execute("SAVEPOINT rows"), client.copy_in(&statement));
        let ((), sink) = begun.await?;
        let mut sink = pin!(sink);
        let copied = async {
            for chunk in chunks(events) {
                sink.feed(chunk).await?;
            }
            sink.finish().await
        };
        match copied.await {
            Ok(_rows) => Ok(true),
            Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
                client.batch_execute("ROLLBACK TO SAVEPOINT rows").await?;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn insert_what_is_new(
        &self,
        kind: Kind,
        events: &[Located<'_>],
    ) -> Result<Vec<NewEvents>, StoreError> {
        let columns = EventColumns::from(events);
        let rows = self.query(EventColumns::insert_into(kind), &columns.parameters()).await?;
        rows.iter()
            .map(|row| {
                Ok(NewEvents {
                    partition: row.try_get(0)?,
                    ad: crate::ad_id(row.try_get(1)?)?,
                    events: row.try_get(2)?,
                })
            })
            .collect()
    }
}

/// How many events there are of each partition and ad.
fn counted(events: &[Located<'_>]) -> Vec<NewEvents> {
    let mut counts = HashMap::new();
    for it in events {
        *counts.entry((it.partition, it.event.ad_id)).or_default() += 1;
    }
    let mut counted: Vec<_> = counts
        .into_iter()
        .map(|((partition, ad), events)| NewEvents { partition, ad, events })
        .collect();
    // As INSERT tells it: totals are then raised in the order in which they lie.
    counted.sort_unstable_by_key(|it| (it.partition, it.ad));
    counted
}
