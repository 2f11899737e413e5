//! Past saturation: what is answered and what is refused where more comes than the machine can do.

use std::time::Duration;

use super::stage::{Outcome, Setting, Stage, Way};
use crate::{
    load::Pace,
    progress::note,
    report::{Section, float, number},
};

const LASTS: Duration = Duration::from_secs(12);

const TIMES: [f64; 2] = [1.5, 2.0];

/// Measures it as it is deployed, and without the protection that sheds.
pub(crate) async fn saturation() -> anyhow::Result<Section> {
    let mut rows = Vec::new();
    let unprotected = Setting::usual(Way::OneByOne);
    let mut stage = Stage::set(unprotected).await?;
    // Once for nothing: Kafka's JVM compiles while it is new.
    stage.load(Pace::Closed, LASTS).await?;
    let pushed = stage.load(Pace::Closed, LASTS).await?;
    let capacity = pushed.accepted_per_second;
    rows.push(cells("as fast as it answers", None, capacity, &pushed));
    for times in TIMES {
        note(&format!("{times} times capacity, nothing is shed"));
        let outcome = stage.load(Way::OneByOne.pace(capacity * times), LASTS).await?;
        rows.push(cells("nothing is shed", Some(capacity * times), capacity, &outcome));
    }
    stage.finish().await?;

    let mut stage = Stage::set(Setting { protected: true, ..unprotected }).await?;
    for times in TIMES {
        note(&format!("{times} times capacity, strangers are shed"));
        let outcome = stage.load(Way::OneByOne.pace(capacity * times), LASTS).await?;
        rows.push(cells("strangers are shed", Some(capacity * times), capacity, &outcome));
    }
    stage.finish().await?;

    let text = format!(
        "Capacity is what is answered when each of 512 connections asks again at once, after as much that is not \
         looked at. All of what was accepted is stored once in the end; the last column is how long that took after \
         the load. Each for {LASTS:?}. What was due and is not among the answers was not sent: all connections waited. \
         Where strangers are shed, overload protection is on, as it is by default, and every click is of a viewer who \
         was never seen before, whom it turns away first; there are 2,048 connections then, as it holds up to half of \
         those that ingest serves (INGEST_MAX_CONNECTIONS=2100), and a load that has no others would wait with them."
    );
    let header = [
        "",
        "due/s",
        "200/s",
        "of capacity",
        "503/s",
        "answered, ms (p50, p99)",
        "backlog counted after",
    ];
    Ok(Section {
        title: "Past saturation".to_owned(),
        text,
        header: header.map(str::to_owned).into(),
        rows,
    })
}

fn cells(name: &str, due: Option<f64>, capacity: f64, outcome: &Outcome) -> Vec<String> {
    let shed = outcome.answers.statuses.get(&503).copied().unwrap_or_default();
    let others = outcome.answers.all() - outcome.answers.accepted() - shed;
    let shed = float(shed) / outcome.answers.took.as_secs_f64();
    let others = if others == 0 { String::new() } else { format!(" and {others} others") };
    vec![
        name.to_owned(),
        due.map(number).unwrap_or_default(),
        number(outcome.accepted_per_second),
        format!("{:.0} %", outcome.accepted_per_second / capacity * 100.0),
        format!("{}{others}", number(shed)),
        format!("{}, {}", number(outcome.answers.ms(0.5)), number(outcome.answers.ms(0.99))),
        format!("{:.1} s", outcome.drained.as_secs_f64()),
    ]
}
