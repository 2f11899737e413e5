//! What a killed Postgres leaves in its data folder, and would refuse to start because of.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::process::signal_to;
use crate::procfs::{Identity, working_in};

/// How long killed processes may take to be gone. What is still there then, Postgres names.
const LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);

/// Ends what is left of an earlier server and removes its lock file.
///
/// The folder is claimed by us, so nobody else runs a server in it. Postgres itself cannot know
/// that: it takes a process that init has not yet reaped, or a new one with the same pid, for its
/// predecessor.
pub(super) fn clear(data: &Path) {
    // Until they are gone, they hold the shared memory that a new server must have for itself.
    let begun = Instant::now();
    loop {
        let left = working_in(data);
        if left.is_empty() || begun.elapsed() > LIMIT {
            break;
        }
        for pid in left {
            signal_to(pid, Signal::SIGKILL);
        }
        sleep(POLL);
    }

    let lock = data.join("postmaster.pid");
    let Ok(text) = std::fs::read_to_string(&lock) else { return };
    let owner = text.lines().next().and_then(|line| line.trim().parse().ok());
    let runs_there = |pid| Identity::of(pid).is_some() && working_in(data).contains(&pid);
    if !owner.is_some_and(runs_there) {
        drop(std::fs::remove_file(&lock));
    }
}
