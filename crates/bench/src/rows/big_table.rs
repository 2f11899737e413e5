//! Row 6: the consumer on a table of 20 million rows, against an empty one.

use anyhow::{Context as _, ensure};
use e2e::Pipeline;

use super::{
    Effort,
    counting::{consumed, consumer, new_events},
    ingest::ADS,
};
use crate::{
    pairs::Pairs,
    progress::note,
    report::{Row, Target},
};

const ROWS: u32 = 20_000_000;

/// Inserted by one statement.
const AT_ONCE: u32 = 1_000_000;

/// Row 6.
pub(crate) async fn on_a_big_table(effort: Effort) -> anyhow::Result<Row> {
    let big = Pipeline::new("bench-big-table").await;
    fill(&big).await?;

    let pairs = Pairs::measure(
        effort.pairs,
        async || consumed(&big, &new_events(effort.events)?).await,
        // A new one each time, which is empty.
        async || consumer(effort).await,
    )
    .await?;
    // A day's table is what counts; past midnight the clicks would be those of an empty one.
    let days = "SELECT count(DISTINCT dedup_time::date) FROM clicks WHERE dedup_time > now() - interval '1 hour'
                AND kafka_partition >= 0";
    ensure!(big.number(days).await == 1, "a new day began meanwhile: measure again");
    big.discard().await;
    let names = ("consumer, on a table of 20 million rows of the same day", "on an empty table");
    Ok(Row::of_pairs("6", names, "events/s", &pairs, Target::AtLeast(0.9)))
}

/// Fills the table of today with clicks that came before now, in the order in which they did.
async fn fill(pipeline: &Pipeline) -> anyhow::Result<()> {
    let client = pipeline.pool().get().await?;
    client.batch_execute("SET statement_timeout = 0").await?;
    client.execute("SELECT make_day_partition('clicks', current_date)", &[]).await?;
    let insert = format!(
        "INSERT INTO clicks
         SELECT at, gen_random_uuid(), 1 + number % {ADS}, at, at,
                '11.0.0.0'::inet + (random() * 1e9)::bigint, (random() * 3600000)::integer,
                gen_random_uuid()::text, $3, -1, number
         FROM (
             SELECT number, date_trunc('milliseconds',
                        current_date::timestamptz
                        + (now() - current_date::timestamptz) * (number::float8 / {ROWS})) AS at
             FROM generate_series($1::bigint, $2::bigint) AS number
         ) AS numbered"
    );
    for first in (0..ROWS).step_by(AT_ONCE as usize) {
        let last = (first + AT_ONCE).min(ROWS) - 1;
        let user_agent = crate::clicks::USER_AGENT;
        let (first, last) = (i64::from(first), i64::from(last));
        client.execute(&insert, &[&first, &last, &user_agent]).await.context("filling")?;
        if (last + 1) % i64::from(5 * AT_ONCE) == 0 {
            note(&format!("{} million rows are there", (last + 1) / 1_000_000));
        }
    }
    // So that neither is done while it is measured.
    client.batch_execute("VACUUM (ANALYZE) clicks").await?;
    client.batch_execute("CHECKPOINT").await?;
    Ok(())
}
