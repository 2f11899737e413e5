//! Ends the transaction of a client that sits still in the middle of its rows, and so holds a fence.
//!
//! `idle_in_transaction_session_timeout` puts out who sits still between two statements. While COPY
//! waits for rows no timeout of the server runs, not even that of the statement, so whoever waits for a
//! partition in vain looks for such a client.

use deadpool_postgres::Pool;
use tracing::warn;

use crate::{StoreError, TopicPartition};

/// Ends the sessions that hold one of `partitions` and wait for rows of a COPY that began 15 s ago or
/// earlier, as `idle_in_transaction_session_timeout` has it.
pub(crate) async fn put_out(
    pool: &Pool,
    partitions: impl Iterator<Item = &TopicPartition>,
) -> Result<(), StoreError> {
    let (topics, partitions): (Vec<&str>, Vec<i32>) =
        partitions.map(|it| (&*it.topic, it.partition)).unzip();
    let client = pool.get().await?;
    // A row that is being changed bears the number of the transaction that changes it.
    let statement = client
        .prepare_cached(
            "WITH stuck AS (
                 SELECT DISTINCT pid
                 FROM pg_stat_activity
                 JOIN consumer_offsets AS o ON backend_xid = o.xmax
                 JOIN unnest($1::text[], $2::int[]) AS w(topic, kafka_partition)
                      USING (topic, kafka_partition)
                 WHERE state = 'active' AND wait_event = 'ClientRead'
                   AND query_start < clock_timestamp() - interval '15 s'
             )
             SELECT pid FROM stuck WHERE pg_terminate_backend(pid)",
        )
        .await?;
    for row in &client.query(&statement, &[&topics, &partitions]).await? {
        let pid: i32 = row.try_get(0)?;
        warn!(pid, "put out a consumer that held a fence and sent no more rows");
    }
    Ok(())
}
