//! The totals in Postgres, and the form in which either store answers.

use std::collections::BTreeMap;

use deadpool_postgres::Pool;
use proto_schemas::{AdId, Kind};
use uuid::Uuid;

use crate::{StoreError, TopicPartition};

/// Adds to totals that have a row, and says how many had. Parameters, one element for each total:
/// topics, partitions, ads, and what is added.
pub(crate) const RAISE: &str = "UPDATE ad_totals AS t SET events = t.events + n.events
     FROM unnest($1::text[], $2::int[], $3::bigint[], $4::bigint[])
          AS n(topic, kafka_partition, ad_id, events)
     WHERE t.topic = n.topic AND t.kafka_partition = n.kafka_partition AND t.ad_id = n.ad_id";

/// What a reader must know before it may believe Redis.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct View {
    pub epoch: Uuid,
    /// Every partition that is counted.
    pub partitions: Vec<CountedPartition>,
    /// Every registered ad.
    pub ads: Vec<AdId>,
}

/// A partition that is counted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CountedPartition {
    pub at: TopicPartition,
    pub kind: Kind,
}

/// What a reader must know, and how far Postgres had counted at that moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Standing {
    pub view: View,
    /// `next_offset` of each partition of `view`, in the same order.
    pub offsets: Vec<i64>,
}

/// The totals of one ad.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct AdTotals {
    pub clicks: u64,
    pub impressions: u64,
}

/// The totals of every ad at one moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Snapshot {
    pub view: View,
    /// How far each partition of `view` is counted in it, in the same order.
    pub offsets: Vec<i64>,
    /// By ad: registered ads without events too.
    pub ads: BTreeMap<AdId, AdTotals>,
}

/// The totals of one partition at one moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PartitionTotals {
    pub epoch: Uuid,
    pub next_offset: i64,
    /// Events of each ad.
    pub events: Vec<(AdId, i64)>,
}

impl Snapshot {
    pub(crate) fn empty(view: &View) -> Self {
        Self {
            view: view.clone(),
            offsets: Vec::with_capacity(view.partitions.len()),
            ads: view.ads.iter().map(|&ad| (ad, AdTotals::default())).collect(),
        }
    }

    pub(crate) fn add(&mut self, ad: AdId, kind: Kind, events: u64) {
        let totals = self.ads.entry(ad).or_default();
        match kind {
            Kind::Click => totals.clicks += events,
            Kind::Impression => totals.impressions += events,
        }
    }
}

/// Returns what is needed to read Redis: cheap enough to ask each second.
pub async fn view(pool: &Pool) -> Result<View, StoreError> {
    Ok(standing(pool).await?.view)
}

/// Returns what is needed to read Redis, and how far Postgres has counted.
pub async fn standing(pool: &Pool) -> Result<Standing, StoreError> {
    let Snapshot { view, offsets, .. } = select(pool, VIEW).await?;
    Ok(Standing { view, offsets })
}

/// Returns the epoch.
pub async fn epoch(pool: &Pool) -> Result<Uuid, StoreError> {
    let client = pool.get().await?;
    let statement = client.prepare_cached("SELECT epoch FROM projection_epoch").await?;
    Ok(client.query_one(&statement, &[]).await?.try_get(0)?)
}

/// Returns the totals of every ad from Postgres.
pub async fn snapshot(pool: &Pool) -> Result<Snapshot, StoreError> {
    select(pool, SNAPSHOT).await
}

/// Returns totals, offset and epoch of one partition; `None` where it has no row.
///
/// They come from one statement: two could straddle a COMMIT.
pub async fn of_partition(
    pool: &Pool,
    at: &TopicPartition,
) -> Result<Option<PartitionTotals>, StoreError> {
    let client = pool.get().await?;
    let statement = client
        .prepare_cached(
            "SELECT epoch, next_offset, ad_id, events
             FROM projection_epoch
             CROSS JOIN consumer_offsets
             LEFT JOIN ad_totals USING (topic, kafka_partition)
             WHERE topic = $1 AND kafka_partition = $2",
        )
        .await?;
    let rows = client.query(&statement, &[&&*at.topic, &at.partition]).await?;
    let Some(first) = rows.first() else { return Ok(None) };

    let mut totals = PartitionTotals {
        epoch: first.try_get(0)?,
        next_offset: first.try_get(1)?,
        events: Vec::with_capacity(rows.len()),
    };
    for row in &rows {
        if let (Some(ad), Some(events)) = (row.try_get(2)?, row.try_get(3)?) {
            totals.events.push((crate::ad_id(ad)?, events));
        }
    }
    Ok(Some(totals))
}

/// One row for the epoch, one for each partition, one for each ad, told apart by what is null; one
/// statement, so that all of it is of one moment.
const VIEW: &str = "
    SELECT epoch, NULL::text, NULL::int, NULL::text, NULL::bigint, NULL::bigint, NULL::bigint,
           NULL::bigint
    FROM projection_epoch
    UNION ALL
    SELECT NULL, topic, kafka_partition, kind, next_offset, NULL, NULL, NULL
    FROM consumer_offsets
    UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, ad_id, 0, 0
    FROM ads";

/// The same with the totals of each ad: what [`snapshot`] asks.
pub const SNAPSHOT: &str = "
    SELECT epoch, NULL::text, NULL::int, NULL::text, NULL::bigint, NULL::bigint, NULL::bigint,
           NULL::bigint
    FROM projection_epoch
    UNION ALL
    SELECT NULL, topic, kafka_partition, kind, next_offset, NULL, NULL, NULL
    FROM consumer_offsets
    UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, ad_id, coalesce(clicks, 0), coalesce(impressions, 0)
    FROM ads
    LEFT JOIN (
        SELECT ad_id,
               (sum(events) FILTER (WHERE kind = 'click'))::bigint AS clicks,
               (sum(events) FILTER (WHERE kind = 'impression'))::bigint AS impressions
        FROM ad_totals
        JOIN consumer_offsets USING (topic, kafka_partition)
        GROUP BY ad_id
    ) AS sums USING (ad_id)";

async fn select(pool: &Pool, sql: &str) -> Result<Snapshot, StoreError> {
    let client = pool.get().await?;
    let statement = client.prepare_cached(sql).await?;
    let rows = client.query(&statement, &[]).await?;

    let mut view = View { epoch: Uuid::nil(), partitions: Vec::new(), ads: Vec::new() };
    let mut offsets = Vec::new();
    let mut ads = BTreeMap::new();
    for row in &rows {
        if let Some(epoch) = row.try_get(0)? {
            view.epoch = epoch;
        } else if let Some(topic) = row.try_get::<_, Option<&str>>(1)? {
            let kind = row.try_get::<_, &str>(3)?;
            let kind = Kind::ALL.into_iter().find(|it| it.as_str() == kind);
            view.partitions.push(CountedPartition {
                at: TopicPartition::new(topic, row.try_get(2)?),
                kind: kind.ok_or(StoreError::Malformed("the kind of a partition"))?,
            });
            offsets.push(row.try_get(4)?);
        } else {
            let ad = crate::ad_id(row.try_get(5)?)?;
            let count = |column| -> Result<u64, StoreError> {
                u64::try_from(row.try_get::<_, i64>(column)?)
                    .map_err(|_| StoreError::Malformed("a total"))
            };
            view.ads.push(ad);
            ads.insert(ad, AdTotals { clicks: count(6)?, impressions: count(7)? });
        }
    }
    Ok(Snapshot { view, offsets, ads })
}
