//! A process that is held to a share of a processor.
//!
//! By signals: control groups are not to be had everywhere.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::process::Process;

/// Lets a process run for a part of each period only. Dropping it lets it run on.
///
/// The process must not end before this is dropped.
#[derive(Debug)]
pub struct Throttle {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Throttle {
    /// Begins. The process runs for `on`, then stands still for `off`, and so on.
    pub fn hold(process: &Process, on: Duration, off: Duration) -> Self {
        let pid = Pid::from_raw(process.id().cast_signed());
        let ended = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ended);
        let thread = thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                kill(pid, Signal::SIGSTOP).expect("it runs");
                thread::sleep(off);
                kill(pid, Signal::SIGCONT).expect("it is there");
                thread::sleep(on);
            }
        });
        Self { ended, thread: Some(thread) }
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of its own is shown by itself.
            thread.join().ok();
        }
    }
}
