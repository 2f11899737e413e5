//! How it grows: with more ads, more consumers, and more load.

use std::time::Duration;

use super::{
    Effort,
    headline::search,
    stage::{Outcome, Setting, Stage, Way},
};
use crate::{
    progress::note,
    report::{Section, number},
};

const ADS: [u64; 5] = [1, 10, 100, 1_000, 10_000];
const CONSUMERS: [usize; 3] = [1, 2, 4];
const SHARES: [(&str, f64); 3] = [("a tenth", 0.1), ("half", 0.5), ("all", 1.0)];

const LASTS: Duration = Duration::from_secs(10);

/// With how many ads there are. Latency and cost are those at half of `capacity`, the same for all.
pub(crate) async fn with_ads(effort: Effort, capacity: f64) -> anyhow::Result<Section> {
    let mut rows = Vec::new();
    for ads in ADS {
        note(&format!("{ads} ads"));
        let setting = Setting { ads, ..Setting::usual(Way::OneByOne) };
        rows.push(point(&ads.to_string(), setting, effort, capacity / 2.0).await?);
    }
    Ok(section("With the number of ads", "ads", capacity / 2.0, rows))
}

/// With how many consumers share the partitions.
pub(crate) async fn with_consumers(effort: Effort, capacity: f64) -> anyhow::Result<Section> {
    let mut rows = Vec::new();
    for consumers in CONSUMERS {
        note(&format!("{consumers} consumers"));
        let setting = Setting { consumers, ..Setting::usual(Way::OneByOne) };
        rows.push(point(&consumers.to_string(), setting, effort, capacity / 2.0).await?);
    }
    Ok(section("With the number of consumers", "consumers", capacity / 2.0, rows))
}

/// With the share of its capacity that it has to carry.
pub(crate) async fn with_load(capacity: f64) -> anyhow::Result<Section> {
    let mut stage = Stage::set(Setting::usual(Way::OneByOne)).await?;
    let mut rows = Vec::new();
    for (name, share) in SHARES {
        let outcome = stage.load(Way::OneByOne.pace(capacity * share), LASTS).await?;
        rows.push(cells(name, capacity * share, &outcome));
    }
    stage.finish().await?;
    let text = format!(
        "Of {} events/s, the headline's. Each for {LASTS:?}; the last may be a little too much, as the machine \
         is not the same at any time.",
        number(capacity)
    );
    let (header, rows) = with_parts("load", "events/s", rows);
    Ok(Section { title: "With the load".to_owned(), text, header, rows })
}

async fn point(name: &str, setting: Setting, effort: Effort, rate: f64) -> anyhow::Result<Cells> {
    let mut stage = Stage::set(setting).await?;
    let highest = search(&mut stage, effort).await?;
    let outcome = stage.load(setting.way.pace(rate), LASTS).await?;
    stage.finish().await?;
    Ok(cells(name, highest, &outcome))
}

fn section(title: &str, name: &str, rate: f64, rows: Vec<Cells>) -> Section {
    let text = format!(
        "The highest rate that is kept up, found by probes of some seconds and within a twentieth; and at {} \
         events/s, for {LASTS:?}, the times and what an event costs.",
        number(rate)
    );
    let (header, rows) = with_parts(name, "kept up, events/s", rows);
    Section { title: title.to_owned(), text, header, rows }
}

/// The cells of a row, and what the last of them are called.
struct Cells {
    first: Vec<String>,
    parts: Vec<(&'static str, f64)>,
}

fn cells(name: &str, rate: f64, outcome: &Outcome) -> Cells {
    let first = vec![
        name.to_owned(),
        number(rate),
        format!("{}, {}", number(outcome.answers.ms(0.5)), number(outcome.answers.ms(0.99))),
        outcome.visible_in(),
    ];
    Cells { first, parts: outcome.us_by_part.clone() }
}

fn with_parts(name: &str, rate: &str, rows: Vec<Cells>) -> (Vec<String>, Vec<Vec<String>>) {
    let fixed = [name, rate, "acknowledged, ms (p50, p99)", "visible (p50, p99)"];
    let parts = rows.first().map(|it| it.parts.clone()).unwrap_or_default();
    let parts = parts.iter().map(|(part, _)| format!("{part}, µs"));
    let header = fixed.map(str::to_owned).into_iter().chain(parts).chain(["all, µs".to_owned()]);
    let rows = rows.into_iter().map(|Cells { mut first, parts }| {
        first.extend(parts.iter().map(|(_, us)| number(*us)));
        first.push(number(parts.iter().map(|(_, us)| us).sum()));
        first
    });
    (header.collect(), rows.collect())
}
