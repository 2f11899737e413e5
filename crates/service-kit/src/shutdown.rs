//! The signals that ask a process to stop.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM (from an orchestrator) and SIGINT (from a terminal), caught from now on.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Catches both signals, which from now on end the process no longer.
    ///
    /// # Errors
    ///
    /// If the system does not allow a handler.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal and returns its name.
    ///
    /// # Cancellation
    ///
    /// Cancel safe: a signal that was not returned is returned by the next call.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            // Both arms are cancel safe.
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
