//! How much memory services take while a test breaks something.

use std::{collections::BTreeMap, fs, time::Duration};

use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::pipeline::Services;

/// Often enough for what grows for a minute.
const EVERY: Duration = Duration::from_millis(250);

/// Looks at the memory of services all the time. They must not be started again meanwhile.
#[derive(Debug)]
pub struct Memory {
    stop: CancellationToken,
    looking: JoinSet<BTreeMap<&'static str, u64>>,
}

impl Memory {
    /// Begins with what they take now.
    pub fn watch(services: &Services) -> Self {
        let Services { ingest, consumer, analytics } = services;
        let watched = [ingest, consumer, analytics].map(|it| {
            let pid = it.process().id();
            Watched { name: it.program().name(), pid, at_first: anonymous_bytes(pid), most: 0 }
        });
        let (stop, mut looking) = (CancellationToken::new(), JoinSet::new());
        looking.spawn(look(watched, stop.clone()));
        Self { stop, looking }
    }

    /// Stops, and returns by how many bytes each has grown at most, by the name of its program.
    pub async fn stop(mut self) -> BTreeMap<&'static str, u64> {
        self.stop.cancel();
        let ended = self.looking.join_next().await.expect("somebody who looks");
        ended.expect("every process is there")
    }
}

struct Watched {
    name: &'static str,
    pid: u32,
    at_first: u64,
    most: u64,
}

async fn look(mut watched: [Watched; 3], stop: CancellationToken) -> BTreeMap<&'static str, u64> {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        for it in &mut watched {
            it.most = it.most.max(anonymous_bytes(it.pid));
        }
    }
    watched.map(|it| (it.name, it.most.saturating_sub(it.at_first))).into()
}

/// What a process takes of the machine's memory and no file backs: heap and stacks, and not the code
/// that is loaded when it first runs.
fn anonymous_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let kibibytes = status.lines().find_map(|line| {
        line.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    1024 * kibibytes.expect("a process with memory of its own")
}
