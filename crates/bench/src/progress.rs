//! What is measured right now, for whoever waits for it.

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

/// How far it is.
#[derive(Debug)]
pub(crate) struct Progress {
    begun: Instant,
    done: usize,
    all: usize,
}

impl Progress {
    pub(crate) fn of(all: usize) -> Self {
        Self { begun: Instant::now(), done: 0, all }
    }

    /// Says what begins now.
    #[expect(clippy::print_stderr, reason = "progress, beside the report")]
    pub(crate) fn begins(&mut self, what: &str) {
        self.done += 1;
        let so_far = short(self.begun.elapsed());
        eprintln!("[{} of {}, after {so_far}] {what}", self.done, self.all);
    }

    /// How long all of it has taken.
    pub(crate) fn took(&self) -> Duration {
        self.begun.elapsed()
    }
}

/// Says something about what runs.
#[expect(clippy::print_stderr, reason = "progress, beside the report")]
pub(crate) fn note(what: &impl Display) {
    eprintln!("    {what}");
}

/// A time in minutes and seconds.
pub(crate) fn short(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_minutes_and_seconds() {
        assert_eq!(short(Duration::from_secs(605)), "10:05");
    }
}
