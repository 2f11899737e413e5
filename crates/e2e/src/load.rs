//! Players that post without a break, and what they were told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{
    client::{Client, click},
    sample,
    wait::until,
};

/// Each player posts this often: together enough to keep every part busy on two cores.
const EVERY: Duration = Duration::from_millis(10);

/// Several players that post clicks until they are stopped, none of them twice.
#[derive(Debug)]
pub struct Load {
    stop: CancellationToken,
    players: JoinSet<BTreeMap<String, Option<u16>>>,
    accepted: Arc<AtomicU64>,
}

/// What became of each click, by its event id; `None` where no answer came.
#[derive(Debug)]
pub struct Sent(pub BTreeMap<String, Option<u16>>);

impl Load {
    /// Begins to post to the `url` of `/ads/click`.
    pub fn start(url: &str, players: u64) -> Self {
        let mut load = Self {
            stop: CancellationToken::new(),
            players: JoinSet::new(),
            accepted: Arc::default(),
        };
        for player in 0..players {
            let (url, stop) = (url.to_owned(), load.stop.clone());
            load.players.spawn(play(player, url, stop, Arc::clone(&load.accepted)));
        }
        load
    }

    /// How many clicks were answered with success so far.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Waits until this many more clicks were answered with success.
    pub async fn until_accepted(&self, more: u64) {
        let enough = self.accepted() + more;
        until("clicks are accepted", async || self.accepted() >= enough).await;
    }

    /// Stops when every click that is under way has its answer, or has none to come.
    pub async fn stop(mut self) -> Sent {
        self.stop.cancel();
        let mut sent = BTreeMap::new();
        while let Some(ended) = self.players.join_next().await {
            sent.extend(ended.expect("a player that does not panic"));
        }
        Sent(sent)
    }
}

impl Sent {
    /// Event ids of the clicks that were answered with success.
    pub fn accepted(&self) -> BTreeSet<String> {
        self.0.iter().filter(|(_, status)| **status == Some(200)).map(|it| it.0.clone()).collect()
    }

    /// The answers that were not success.
    pub fn other_answers(&self) -> BTreeSet<u16> {
        self.0.values().flatten().copied().filter(|it| *it != 200).collect()
    }
}

async fn play(
    player: u64,
    url: String,
    stop: CancellationToken,
    accepted: Arc<AtomicU64>,
) -> BTreeMap<String, Option<u16>> {
    let http = Client::new();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sent = BTreeMap::new();
    // A request that is under way is never dropped: its answer is what the test is about.
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let number = sent.len() as u64;
        let id = format!("player-{player}-{number}");
        let answer = http.try_post(&url, &click(number % sample::ADS + 1, &id)).await;
        let status = answer.map(|it| it.status);
        if status == Some(200) {
            accepted.fetch_add(1, Ordering::Relaxed);
        }
        sent.insert(id, status);
    }
    sent
}
