//! Row 8: the analytics without Redis, against pgbench with the query that they ask.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, ensure};
use click_store::totals::SNAPSHOT;
use e2e::{Pipeline, Program, free_address, until};
use tokio::process::Command;

use super::{Effort, analytics};
use crate::{
    load::{self, Pace, Plan},
    pairs::Pairs,
    report::{Row, Target, number},
    requests::Get,
};

/// So few that requests hardly meet: the time of the query is to be compared, not that of a queue.
const PER_SECOND: u32 = 40;

/// More than ever wait at once, so that none waits for another's connection.
const CONNECTIONS: u32 = 16;

/// So that the 99th of 100 is the mean of some, and not the worst of all.
const LASTS: Duration = Duration::from_secs(12);

/// Row 8.
pub(crate) async fn without_redis(effort: Effort) -> anyhow::Result<Row> {
    let (pipeline, _consumer) = analytics::counted().await?;
    // Nobody listens there, as nobody does where Redis was stopped.
    let nowhere = format!("redis://{}", free_address());
    let settings = [("REDIS_URL", nowhere.as_str())];
    let cached = pipeline.start(Program::Analytics, &settings).await;
    // Every request that finds no read under way reads Postgres anew.
    let uncached = [("REDIS_URL", nowhere.as_str()), ("ANALYTICS_MAX_AGE", "0s")];
    let analytics = pipeline.start(Program::Analytics, &uncached).await;
    let url = analytics.url("/ads/analytics");
    until("the analytics answer from Postgres", async || {
        pipeline.http.get(&url).await.header("x-data-source") == "postgres"
    })
    .await;

    let pace = Pace::Open { per_second: f64::from(PER_SECOND) };
    let plan = Plan { to: analytics.address(), connections: CONNECTIONS, pace, lasts: LASTS };
    let pairs = Pairs::measure(
        effort.pairs,
        async || p99_ms(plan).await,
        async || pgbench_p99_ms(&pipeline).await,
    )
    .await?;
    let as_deployed = p99_ms(Plan { to: cached.address(), ..plan }).await?;
    let measured = format!(
        "the same without Redis, {PER_SECOND} a second, each reading anew (p99; {} ms where bodies are kept for \
         250 ms, as they are)",
        number(as_deployed)
    );
    let against = "pgbench, the same query, prepared, one client (p99)";
    Ok(Row::of_pairs("8", (&measured, against), "ms", &pairs, Target::AtMost(1.5)))
}

async fn p99_ms(plan: Plan) -> anyhow::Result<f64> {
    Ok(load::run(plan, |_| Get("/ads/analytics")).await?.all_accepted()?.ms(0.99))
}

/// One client, as the analytics have one read under way at most.
async fn pgbench_p99_ms(pipeline: &Pipeline) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir()?;
    let script = folder.path().join("snapshot.sql");
    tokio::fs::write(&script, format!("{SNAPSHOT};\n")).await?;
    let program = local_stack::postgres::program("pgbench")?;
    let output = Command::new(program)
        .args(["--no-vacuum", "--protocol=prepared", "--client=1", "--log"])
        .arg(format!("--time={}", LASTS.as_secs()))
        .arg(format!("--rate={PER_SECOND}"))
        .arg(format!("--file={}", script.display()))
        .arg(pipeline.own_database_url())
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("running pgbench")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "pgbench: {said}");
    let mut times = query_times_us(&log_in(folder.path())?)?;
    ensure!(!times.is_empty(), "pgbench asked nothing: {said}");
    times.sort_unstable();
    Ok(f64::from(times[times.len() * 99 / 100]) / 1000.0)
}

/// What pgbench has written beside its script.
fn log_in(folder: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|it| it.to_string_lossy().starts_with("pgbench_log")) {
            text.push_str(&std::fs::read_to_string(path)?);
        }
    }
    Ok(text)
}

/// The time of each query, without its wait for the one before it: pgbench comes at random moments.
fn query_times_us(log: &str) -> anyhow::Result<Vec<u32>> {
    // client, number, time, script, seconds, microseconds, wait
    let time = |line: &str| {
        let fields: Vec<&str> = line.split(' ').collect();
        let field = |number: usize| fields.get(number)?.parse::<u32>().ok();
        field(2)?.checked_sub(field(6)?)
    };
    log.lines().map(|line| time(line).with_context(|| format!("pgbench wrote: {line}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_query_is_without_its_wait() {
        let log = "0 1 5200 0 1700000000 123 200\n0 2 4100 0 1700000000 456 0\n";

        assert_eq!(query_times_us(log).expect("a log"), [5000, 4100]);
        assert!(query_times_us("0 1 skipped 0 1 2 3\n").is_err());
    }
}
