//! Players that post without a break, and what they were told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    client::{Client, click},
    sample,
    wait::until,
};

/// Clicks that a player posts at most: more would fill the memory of a test that hangs.
const MAX_CLICKS: u64 = 100_000;

/// How players behave.
#[derive(Clone, Copy, Debug)]
pub struct Players {
    pub count: u64,
    /// Between two clicks of one player.
    pub every: Duration,
    /// How often a click is posted at most while it is not answered, or answered with 503.
    pub tries: u32,
    /// How long a player waits for an answer.
    pub patience: Duration,
}

/// Several players that post clicks until they are stopped.
#[derive(Debug)]
pub struct Load {
    stop: CancellationToken,
    players: JoinSet<Sent>,
    accepted: Arc<AtomicU64>,
}

/// What became of each click.
#[derive(Debug, Default)]
pub struct Sent {
    /// The answer, by the click's event id; `None` where a try had no answer, and none was a success.
    pub outcomes: BTreeMap<String, Option<u16>>,
    /// The longest that a player waited for one answer.
    pub slowest: Duration,
    /// When each request was begun that had no answer.
    pub unanswered_since: Vec<Instant>,
}

impl Default for Players {
    /// Together enough to keep every part busy on two cores; they post each click once.
    fn default() -> Self {
        Self {
            count: 4,
            every: Duration::from_millis(10),
            tries: 1,
            patience: Duration::from_secs(30),
        }
    }
}

impl Players {
    /// Players that post again what was not answered, as real ones do.
    pub fn persistent() -> Self {
        Self { tries: 5, ..Self::default() }
    }
}

impl Load {
    /// Begins to post to the `url` of `/ads/click`, each click once.
    pub fn start(url: &str, players: u64) -> Self {
        Self::of(Players { count: players, ..Players::default() }, url)
    }

    /// The same with players of another behaviour.
    pub fn of(players: Players, url: &str) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut load = Self {
            stop: CancellationToken::new(),
            players: JoinSet::new(),
            accepted: Arc::default(),
        };
        for player in 0..players.count {
            let player = Player {
                name: format!("load-{number}-player-{player}"),
                behaviour: players,
                http: Client::with_timeout(players.patience),
                url: url.to_owned(),
                accepted: Arc::clone(&load.accepted),
                sent: Sent::default(),
            };
            load.players.spawn(player.play(load.stop.clone()));
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
        let mut sent = Sent::default();
        while let Some(ended) = self.players.join_next().await {
            let ended = ended.expect("a player that does not panic");
            sent.outcomes.extend(ended.outcomes);
            sent.slowest = sent.slowest.max(ended.slowest);
            sent.unanswered_since.extend(ended.unanswered_since);
        }
        sent
    }
}

impl Sent {
    /// Event ids of the clicks that were answered with success: each of them counts.
    pub fn accepted(&self) -> BTreeSet<String> {
        self.ids(|status| status == Some(200))
    }

    /// Event ids of the clicks that may be there: accepted, or without an answer, or refused with a
    /// 503, which says no more than that sending it again is safe.
    pub fn possible(&self) -> BTreeSet<String> {
        self.ids(|status| matches!(status, None | Some(200 | 503)))
    }

    /// How many clicks have no answer.
    pub fn unanswered(&self) -> usize {
        self.outcomes.values().filter(|it| it.is_none()).count()
    }

    /// The answers that were not success.
    pub fn other_answers(&self) -> BTreeSet<u16> {
        self.outcomes.values().flatten().copied().filter(|it| *it != 200).collect()
    }

    fn ids(&self, which: impl Fn(Option<u16>) -> bool) -> BTreeSet<String> {
        self.outcomes.iter().filter(|it| which(*it.1)).map(|it| it.0.clone()).collect()
    }
}

struct Player {
    name: String,
    behaviour: Players,
    http: Client,
    url: String,
    accepted: Arc<AtomicU64>,
    sent: Sent,
}

impl Player {
    async fn play(mut self, stop: CancellationToken) -> Sent {
        let mut ticks = interval(self.behaviour.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for number in 0..MAX_CLICKS {
            if stop.run_until_cancelled(ticks.tick()).await.is_none() {
                break;
            }
            let id = format!("{}-{number}", self.name);
            // A request that is under way is never dropped: its answer is what the test is about.
            let outcome = self.post(number % sample::ADS + 1, &id, &stop).await;
            if outcome == Some(200) {
                self.accepted.fetch_add(1, Ordering::Relaxed);
            }
            self.sent.outcomes.insert(id, outcome);
        }
        self.sent
    }

    /// Posts one click, the same each time: its time and its id are made once.
    async fn post(&mut self, ad: u64, id: &str, stop: &CancellationToken) -> Option<u16> {
        /// Between two tries of one click.
        const PAUSE: Duration = Duration::from_millis(200);
        let body = click(ad, id);
        let mut unanswered = false;
        for attempt in 1.. {
            let started = Instant::now();
            let answer = self.http.try_post(&self.url, &body).await;
            self.sent.slowest = self.sent.slowest.max(started.elapsed());
            let status = answer.map(|it| it.status);
            if status.is_none() {
                unanswered = true;
                self.sent.unanswered_since.push(started);
            }
            let again = matches!(status, None | Some(503));
            if !again {
                return status;
            }
            if attempt >= self.behaviour.tries || stop.is_cancelled() {
                return if unanswered { None } else { status };
            }
            sleep(PAUSE).await;
        }
        None
    }
}
