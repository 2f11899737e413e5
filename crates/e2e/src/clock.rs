//! A wall clock of a service's own, which a test sets while the service runs.

use std::{os::unix::fs::FileExt as _, path::Path};

use tempfile::NamedTempFile;

/// What `build.rs` has made.
const LIBRARY: &str = env!("SETTABLE_CLOCK_LIBRARY");

/// A clock that is right until it is set. Clocks that measure how long something takes go on as
/// they are.
#[derive(Debug)]
pub struct Clock(NamedTempFile);

impl Clock {
    pub fn new() -> Self {
        assert!(Path::new(LIBRARY).exists(), "there is none: the C library is not glibc");
        let clock = Self(NamedTempFile::new().expect("a file"));
        clock.set_ahead(0);
        clock
    }

    /// The settings of a service that has this clock.
    pub fn settings(&self) -> [(&'static str, &str); 2] {
        let file = self.0.path().to_str().expect("a path");
        [("LD_PRELOAD", LIBRARY), ("SETTABLE_CLOCK", file)]
    }

    /// Sets the clock to this many seconds ahead of the right time; below zero it is behind.
    pub fn set_ahead(&self, seconds: i64) {
        self.0.as_file().write_all_at(&seconds.to_ne_bytes(), 0).expect("written");
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}
