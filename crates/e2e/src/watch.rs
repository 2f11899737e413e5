//! Somebody who reads the counts without a break, and minds when a number goes down.

use std::{collections::BTreeMap, time::Duration};

use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{client::Client, counts::Counts};

/// Several times in the lifetime of an answer.
const EVERY: Duration = Duration::from_millis(50);

/// A reader of `GET /ads/analytics`.
#[derive(Debug)]
pub struct Watch {
    stop: CancellationToken,
    reader: JoinSet<Watched>,
}

/// What a reader saw.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// Answers from each store, by the `X-Data-Source` of the answers.
    pub answers: BTreeMap<String, u64>,
    /// Requests without an answer, as there are while the service is away.
    pub unanswered: u64,
}

impl Watch {
    /// Begins to read from the `url` of `/ads/analytics`.
    pub fn start(url: &str) -> Self {
        let (stop, mut reader) = (CancellationToken::new(), JoinSet::new());
        reader.spawn(read(url.to_owned(), stop.clone()));
        Self { stop, reader }
    }

    /// Stops, and returns what was seen.
    ///
    /// # Panics
    ///
    /// Where an answer was no success, or a count was lower than one before it.
    pub async fn stop(mut self) -> Watched {
        self.stop.cancel();
        let ended = self.reader.join_next().await.expect("a reader");
        ended.expect("no number went down")
    }
}

async fn read(url: String, stop: CancellationToken) -> Watched {
    let http = Client::new();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut before, mut watched) = (Counts::default(), Watched::default());
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let Some(answer) = http.try_get(&url).await else {
            watched.unanswered += 1;
            continue;
        };
        assert_eq!(answer.status, 200, "{}", answer.body);
        let source = answer.header("x-data-source").to_owned();
        let now = Counts::of_analytics(&answer.json());
        assert!(before.at_most(&now), "from {source}: {now:?}, and before: {before:?}");
        before = now;
        *watched.answers.entry(source).or_default() += 1;
    }
    watched
}
