//! Day partitions of the event tables.

use std::collections::HashSet;

use deadpool_postgres::Pool;
use proto_schemas::{DedupTime, Kind};
use time::{Date, Duration, OffsetDateTime};
use tracing::info;

use crate::{StoreError, counting::table_of};

/// A day of UTC.
pub type Day = Date;

/// Returns the day that an event belongs to.
pub fn day_of(time: DedupTime) -> Day {
    OffsetDateTime::from_unix_timestamp(time.as_millis() / 1000).map_or_else(
        |_| unreachable!("a dedup time lies between 1970 and 2199"),
        OffsetDateTime::date,
    )
}

/// The days that are known to have their table.
///
/// Bounded by the range of [`DedupTime`]: 84,000 days of each kind at the very most, and in practice
/// by the operator's `MAX_EVENT_AGE`.
#[derive(Debug, Default)]
pub struct Days {
    known: HashSet<(Kind, Day)>,
}

impl Days {
    /// Makes the table of each of `days` that has none, each in a transaction of its own.
    ///
    /// # Errors
    ///
    /// On an error some of the tables may have been made; calling again makes the rest.
    pub async fn ensure(
        &mut self,
        pool: &Pool,
        days: impl IntoIterator<Item = (Kind, Day)>,
    ) -> Result<(), StoreError> {
        for (kind, day) in days {
            if self.known.contains(&(kind, day)) {
                continue;
            }
            let client = pool.get().await?;
            let statement =
                client.prepare_cached("SELECT make_day_partition($1, $2::text::date)").await?;
            let made: bool = client
                .query_one(&statement, &[&table_of(kind), &day.to_string()])
                .await?
                .try_get(0)?;
            if made {
                info!(table = table_of(kind), %day, "made the table of a day");
            }
            self.known.insert((kind, day));
        }
        Ok(())
    }

    /// Makes the tables of today and of the `ahead` days after it, so that midnight finds its table
    /// ready.
    pub async fn ensure_ahead(&mut self, pool: &Pool, ahead: u8) -> Result<(), StoreError> {
        let today = OffsetDateTime::now_utc().date();
        let days = (0..=i64::from(ahead))
            .flat_map(|days| Kind::ALL.map(|kind| (kind, today + Duration::days(days))));
        self.ensure(pool, days).await
    }

    /// Forgets what is known: somebody dropped a day.
    pub fn forget(&mut self) {
        self.known.clear();
    }
}
