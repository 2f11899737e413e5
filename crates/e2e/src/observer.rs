//! Somebody who looks at the API and at Postgres all the time while faults happen.

use std::{collections::BTreeMap, time::Duration};

use click_store::Pool;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{
    client::Client, counts::Counts, pipeline::Pipeline, service::Service, stores::totals_of,
};

/// Several times in the lifetime of an answer.
const EVERY: Duration = Duration::from_millis(100);

/// Watches a pipeline: no answer of the API is above Postgres or below an earlier answer, offsets only
/// grow, and the ledger balances at every moment.
#[derive(Debug)]
pub struct Observer {
    stop: CancellationToken,
    looking: JoinSet<Observed>,
}

/// What was seen, so that a test can tell that something was.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Answers of the API, by their status and the store that they came from.
    pub answers: BTreeMap<(u16, String), u64>,
    /// Answers that were compared with Postgres.
    pub compared: u64,
    /// How often offsets were seen.
    pub offsets: u64,
}

impl Observer {
    /// Begins to watch.
    pub fn start(pipeline: &Pipeline, analytics: Option<&Service>) -> Self {
        Self::at(pipeline, analytics.map(|it| it.url("/ads/analytics")))
    }

    /// The same, where the URL of `/ads/analytics` is known.
    pub(crate) fn at(pipeline: &Pipeline, url: Option<String>) -> Self {
        let (stop, mut looking) = (CancellationToken::new(), JoinSet::new());
        let look = Look {
            http: Client::with_timeout(Duration::from_secs(5)),
            url,
            pool: pipeline.pool.clone(),
            shown: Counts::default(),
            offsets: BTreeMap::new(),
            observed: Observed::default(),
        };
        looking.spawn(look.until(stop.clone()));
        Self { stop, looking }
    }

    /// Stops, and returns what was seen.
    ///
    /// # Panics
    ///
    /// Where something was not as it must be.
    pub async fn stop(mut self) -> Observed {
        self.stop.cancel();
        let ended = self.looking.join_next().await.expect("an observer");
        ended.expect("everything as it must be")
    }
}

struct Look {
    http: Client,
    url: Option<String>,
    pool: Pool,
    /// The latest answer of the API.
    shown: Counts,
    offsets: BTreeMap<(String, i32), i64>,
    observed: Observed,
}

impl Look {
    async fn until(mut self, stop: CancellationToken) -> Observed {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            if let Some(url) = self.url.clone() {
                self.ask_the_api(&url).await;
            }
            self.see_offsets().await;
        }
        self.observed
    }

    async fn ask_the_api(&mut self, url: &str) {
        let Some(answer) = self.http.try_get(url).await else { return };
        let source = answer.header("x-data-source").to_owned();
        *self.observed.answers.entry((answer.status, source.clone())).or_default() += 1;
        if answer.status == 503 {
            return;
        }
        assert_eq!(answer.status, 200, "{}", answer.body);
        let shown = Counts::of_analytics(&answer.json());
        assert!(self.shown.at_most(&shown), "{source}: {shown:?}, and before: {:?}", self.shown);

        // Postgres only grows, so what it says now is at least what it said before the answer.
        if let Ok(stored) = totals_of(&self.pool).await {
            assert!(shown.at_most(&stored), "C: {source} says {shown:?}, postgres {stored:?}");
            self.observed.compared += 1;
        }
        self.shown = shown;
    }

    /// D, at any moment. Postgres may be away.
    async fn see_offsets(&mut self) {
        const SQL: &str = "
            SELECT topic, kafka_partition, next_offset, stored + duplicates + dead + absent
            FROM consumer_offsets JOIN partition_ledger USING (topic, kafka_partition)";
        let Ok(client) = self.pool.get().await else { return };
        let Ok(rows) = client.query(SQL, &[]).await else { return };
        for row in rows {
            let at: (String, i32) = (row.get(0), row.get(1));
            let (next, accounted): (i64, i64) = (row.get(2), row.get(3));
            assert_eq!(next, accounted, "D: the ledger of {at:?}");
            let before = self.offsets.insert(at.clone(), next);
            assert!(before.is_none_or(|it| it <= next), "D: {at:?} from {before:?} to {next}");
        }
        self.observed.offsets += 1;
    }
}
