//! What there is to measure, and what is wanted of it.

use crate::{
    report::{Report, Row},
    rows::{
        Effort, analytics, batches, big_table, counting, growth, headline, ingest, killed, latency,
        memory, saturation, stage::Way, starts, without_redis,
    },
};

/// One thing that is measured by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    WithoutKafka,
    Acknowledged,
    AtHalfOfCapacity,
    Counting,
    BigTable,
    Answers,
    WithoutRedis,
    Batches,
    Killed,
    Starts,
    Memory,
    OneByOne,
    InBatches,
    WithAds,
    WithConsumers,
    WithLoad,
    Saturation,
}

/// In the order in which they are measured: later ones use what earlier ones have found.
const ALL: [Step; 17] = [
    Step::WithoutKafka,
    Step::Acknowledged,
    Step::AtHalfOfCapacity,
    Step::Counting,
    Step::BigTable,
    Step::Answers,
    Step::WithoutRedis,
    Step::Batches,
    Step::Killed,
    Step::Starts,
    Step::Memory,
    Step::OneByOne,
    Step::InBatches,
    Step::WithAds,
    Step::WithConsumers,
    Step::WithLoad,
    Step::Saturation,
];

/// Those that a change is compared by.
const QUICK: [Step; 5] =
    [Step::WithoutKafka, Step::Acknowledged, Step::Counting, Step::Answers, Step::OneByOne];

impl Step {
    /// All steps that are called by one of `names`; without names, all, or those of a quick run.
    ///
    /// # Errors
    ///
    /// Names what is the name of none.
    pub(crate) fn wanted(names: &[String], quick: bool) -> anyhow::Result<Vec<Self>> {
        if let Some(unknown) = names.iter().find(|it| !Self::names().any(|name| name == **it)) {
            let known: Vec<&str> = Self::names().collect();
            anyhow::bail!("nothing is called {unknown}: there are {}", known.join(", "));
        }
        Ok(match (names, quick) {
            ([], true) => QUICK.into(),
            ([], false) => ALL.into(),
            (names, _) => {
                let is_meant =
                    |it: &Self| it.called().iter().any(|it| names.iter().any(|n| n == it));
                ALL.into_iter().filter(is_meant).collect()
            }
        })
    }

    /// What any of them is called, each once.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        let names = ALL.iter().flat_map(|it| it.called());
        let mut seen = Vec::new();
        names.copied().filter(move |it| {
            let is_new = !seen.contains(it);
            seen.push(*it);
            is_new
        })
    }

    fn called(self) -> &'static [&'static str] {
        match self {
            Self::WithoutKafka => &["1"],
            Self::Acknowledged => &["2"],
            Self::AtHalfOfCapacity => &["3"],
            Self::Counting => &["4", "5"],
            Self::BigTable => &["6"],
            Self::Answers => &["7"],
            Self::WithoutRedis => &["8"],
            Self::Batches => &["9"],
            Self::Killed => &["10"],
            Self::Starts | Self::Memory => &["11"],
            Self::OneByOne => &["headline"],
            Self::InBatches => &["headline-in-batches"],
            Self::WithAds => &["ads", "growth"],
            Self::WithConsumers => &["consumers", "growth"],
            Self::WithLoad => &["load", "growth"],
            Self::Saturation => &["saturation", "growth"],
        }
    }

    /// What is measured, for whoever waits.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::WithoutKafka => "row 1: ingest without Kafka, against a bare route",
            Self::Acknowledged => "row 2: ingest with Kafka, against a bare route with a producer",
            Self::AtHalfOfCapacity => "row 3: time to an acknowledgement at half of capacity",
            Self::Counting => "rows 4 and 5: the consumer, its transaction, a COPY",
            Self::BigTable => "row 6: the consumer on 20 million rows",
            Self::Answers => "row 7: an answer of the analytics, against a bare route",
            Self::WithoutRedis => "row 8: the analytics without Redis, against pgbench",
            Self::Batches => "row 9: batches, against single POSTs",
            Self::Killed => "row 10: kill -9 of the consumer",
            Self::Starts => "row 11: starts",
            Self::Memory => "row 11: memory",
            Self::OneByOne => "headline: all of it, clicks posted one by one",
            Self::InBatches => "headline: all of it, clicks in batches of 100",
            Self::WithAds => "growth: ads",
            Self::WithConsumers => "growth: consumers",
            Self::WithLoad => "growth: load",
            Self::Saturation => "growth: past saturation",
        }
    }

    /// Measures it, and adds what was found to the report.
    pub(crate) async fn measure(self, effort: Effort, report: &mut Report) -> anyhow::Result<()> {
        match self {
            Self::WithoutKafka => report.add([ingest::without_kafka(effort).await?]),
            Self::Acknowledged => report.add([ingest::acknowledged(effort).await?]),
            Self::AtHalfOfCapacity => report.add([latency::at_half_of_capacity(effort).await?]),
            Self::Counting => {
                let counting::Counted { rows, per_second } = counting::counting(effort).await?;
                report.counted_per_second = Some(per_second);
                report.add(rows);
            }
            Self::BigTable => report.add([big_table::on_a_big_table(effort).await?]),
            Self::Answers => report.add([analytics::answers(effort).await?]),
            Self::WithoutRedis => report.add([without_redis::without_redis(effort).await?]),
            Self::Batches => report.add([batches::batches(effort).await?]),
            Self::Killed => {
                let per_second = match report.counted_per_second {
                    Some(known) => known,
                    None => counting::consumer(effort).await?,
                };
                report.add([killed::killed(effort, per_second).await?]);
            }
            Self::Starts => report.add(starts::starts(effort).await?),
            Self::Memory => report.add(memory::memory().await?),
            Self::OneByOne => report.headlines.push(headline::of(Way::OneByOne, effort).await?),
            Self::InBatches => report.headlines.push(headline::of(Way::InBatches, effort).await?),
            Self::WithAds => {
                let capacity = capacity(effort, report).await?;
                report.growth.push(growth::with_ads(effort, capacity).await?);
            }
            Self::WithConsumers => {
                let capacity = capacity(effort, report).await?;
                report.growth.push(growth::with_consumers(effort, capacity).await?);
            }
            Self::WithLoad => {
                let capacity = capacity(effort, report).await?;
                report.growth.push(growth::with_load(capacity).await?);
            }
            Self::Saturation => report.growth.push(saturation::saturation().await?),
        }
        Ok(())
    }
}

/// What the headline has found, or finds now.
async fn capacity(effort: Effort, report: &mut Report) -> anyhow::Result<f64> {
    if let Some(known) = report.capacity() {
        return Ok(known);
    }
    report.headlines.push(headline::of(Way::OneByOne, effort).await?);
    report.capacity().ok_or_else(|| anyhow::anyhow!("no headline"))
}

impl Report {
    fn add(&mut self, rows: impl IntoIterator<Item = Row>) {
        self.rows.extend(rows);
    }

    /// Events a second, posted one by one, that all of it keeps up.
    fn capacity(&self) -> Option<f64> {
        let headline = self.headlines.iter().find(|it| it.way == Way::OneByOne)?;
        Some(headline.outcome.accepted_per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(names: &[&str], quick: bool) -> Vec<Step> {
        let names: Vec<String> = names.iter().map(|&it| it.to_owned()).collect();
        Step::wanted(&names, quick).expect("known names")
    }

    #[test]
    fn without_names_a_quick_run_leaves_out_what_takes_long() {
        assert_eq!(wanted(&[], true), QUICK);
        assert_eq!(wanted(&[], false), ALL);
    }

    #[test]
    fn a_name_may_stand_for_several_and_two_for_one() {
        assert_eq!(wanted(&["11"], true), [Step::Starts, Step::Memory]);
        assert_eq!(wanted(&["4", "5"], false), [Step::Counting]);
        assert_eq!(wanted(&["growth"], false).len(), 4);
    }

    #[test]
    fn an_unknown_name_is_an_error_that_lists_the_known() {
        let error = Step::wanted(&["12".to_owned()], false).expect_err("there is none");

        assert!(error.to_string().contains("12: there are 1, 2, 3, 4, 5"), "{error}");
    }
}
