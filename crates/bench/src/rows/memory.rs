//! Row 11, memory: what each service takes when nothing happens, and at 5,000 events a second.

use std::time::Duration;

use super::stage::{Setting, Stage, Way};
use crate::report::{Row, Target, Unit, number};

const EVENTS_PER_SECOND: f64 = 5000.0;

const LASTS: Duration = Duration::from_secs(25);

const AT_MOST_MB: f64 = 64.0;

/// Row 11, for each service.
pub(crate) async fn memory() -> anyhow::Result<Vec<Row>> {
    let mut stage = Stage::set(Setting::usual(Way::OneByOne)).await?;
    let idle = stage.resident_mb("VmRSS:")?;
    let outcome = stage.load(Way::OneByOne.pace(EVENTS_PER_SECOND), LASTS).await?;
    let at_most = stage.resident_mb("VmHWM:")?;
    stage.finish().await?;

    let rate = number(outcome.accepted_per_second);
    let rows = idle.into_iter().zip(at_most).map(|((program, idle), (_, most))| Row {
        number: "11",
        measured: format!("resident memory of {program}, the most, at {rate} events/s"),
        against: format!("{} MB after its start", number(idle)),
        result: format!("{} MB", number(most)),
        target: Some(Target::AtMost(AT_MOST_MB)),
        unit: Unit::Mb,
        value: most,
    });
    Ok(rows.collect())
}
