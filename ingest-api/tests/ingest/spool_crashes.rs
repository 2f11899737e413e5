//! An ingest process with a spool is killed under load, over and over: what it answered is there.

use std::{
    collections::BTreeSet,
    fs::File,
    net::SocketAddr,
    path::Path,
    process::{Child, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use local_stack::{children, testing::stack};
use proto_schemas::Kind;
use serde_json::Value;
use tempfile::TempDir;
use tokio::{task::JoinSet, time::sleep};

use crate::harness::{PATIENCE, TestIngest, client_at, event_named, first_records};

const KILLS: usize = 5;
const PLAYERS: usize = 16;

/// How many events each process has answered when it is killed.
const ANSWERED: usize = 400;

/// The service as a process of its own, without any Kafka.
struct Ingest(Child);

impl Ingest {
    /// Starts it, and returns it with the address of its public port.
    async fn start(folder: &Path) -> (Self, SocketAddr) {
        let log = folder.join("log");
        let out = File::create(&log).expect("a log");
        let child = children::bound_to_this_thread(env!("CARGO_BIN_EXE_ingest-api").as_ref())
            .env_clear()
            .env("KAFKA_BROKERS", "127.0.0.1:1")
            .env("SPOOL_DIR", folder.join("spool"))
            .env("INGEST_PRODUCE_TIMEOUT", "100ms")
            .env("RATE_LIMIT_BURST", "1000000")
            .env("INGEST_LISTEN", "127.0.0.1:0")
            .env("INGEST_ADMIN_LISTEN", "127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(out.try_clone().expect("a second handle"))
            .stderr(out)
            .spawn();
        let ingest = Self(child.expect("the binary runs"));

        let begun = Instant::now();
        loop {
            let said = std::fs::read_to_string(&log).expect("the log");
            if let Some(address) = said.lines().find_map(address) {
                return (ingest, address);
            }
            assert!(begun.elapsed() < PATIENCE, "not serving: {said}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Kills it at once, as `kill -9` does.
impl Drop for Ingest {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn address(line: &str) -> Option<SocketAddr> {
    let line: Value = serde_json::from_str(line).ok()?;
    line["http.address"].as_str()?.parse().ok()
}

/// Posts until nobody answers any more, and notes what was answered with success.
async fn play(name: String, address: SocketAddr, answered: Arc<Mutex<BTreeSet<String>>>) {
    let http = client_at([127, 0, 0, 1].into());
    let url = format!("http://{address}/ads/click");
    for number in 0.. {
        let event = event_named(&format!("{name}-{number}"));
        let Ok(response) = http.post(&url).json(&event).send().await else { return };
        let success = response.status().is_success();
        let Ok(body) = response.json::<Value>().await else { return };
        if success {
            let id = body["click_id"].as_str().expect("an id").to_owned();
            answered.lock().expect("not poisoned").insert(id);
        }
    }
}

#[tokio::test]
async fn a_killed_process_loses_nothing_that_it_answered() {
    let scope = stack().scope("spoolkill");
    let folder = TempDir::new().expect("a folder");
    let answered = Arc::new(Mutex::new(BTreeSet::new()));
    let count = || answered.lock().expect("not poisoned").len();

    for round in 0..KILLS {
        let (ingest, address) = Ingest::start(folder.path()).await;
        let mut players = JoinSet::new();
        for player in 0..PLAYERS {
            let name = format!("r{round}-p{player}");
            players.spawn(play(name, address, Arc::clone(&answered)));
        }
        let (begun, enough) = (Instant::now(), count() + ANSWERED);
        while count() < enough {
            assert!(begun.elapsed() < PATIENCE, "{} of {enough} answered", count());
            sleep(Duration::from_millis(5)).await;
        }
        drop(ingest);
        players.join_all().await;
    }

    let spool = folder.path().join("spool");
    let settings = [("SPOOL_DIR", spool.to_str().expect("a path"))];
    let ingest = TestIngest::start(&scope, &settings).await;
    ingest.until("drained", async |it| it.metric("ingest_spool_events").await.eq(&0.0)).await;

    let answered = answered.lock().expect("not poisoned").clone();
    // Waits in vain, and fails, where one of them is missing.
    first_records(&scope, Kind::Click, &answered).await;
}
