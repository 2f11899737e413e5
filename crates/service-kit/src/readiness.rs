//! Whether the service can do its work right now, as `/readyz` tells it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A set of named checks. Cloning shares the same set.
///
/// The service is ready while every check is fine and nobody has called [`Readiness::stopping`].
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    failing: BTreeMap<&'static str, String>,
    stopping: bool,
}

impl Readiness {
    /// Makes a set without checks, which is ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check, which fails as "starting" until it is told otherwise.
    pub fn register(&self, name: &'static str) -> Check {
        self.state().failing.insert(name, "starting".to_owned());
        Check { name, readiness: self.clone() }
    }

    /// Makes the service not ready for good, so that no new work is sent to it while it drains.
    pub fn stopping(&self) {
        self.state().stopping = true;
    }

    /// Tells whether the service is ready.
    ///
    /// # Errors
    ///
    /// Names each failing check and its reason.
    pub fn status(&self) -> Result<(), NotReady> {
        let state = self.state();
        let mut reasons: Vec<_> =
            state.failing.iter().map(|(name, reason)| format!("{name}: {reason}")).collect();
        if state.stopping {
            reasons.push("stopping".to_owned());
        }
        if reasons.is_empty() { Ok(()) } else { Err(NotReady(reasons)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock, and the state is whole after every statement.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One thing without which the service is not ready.
#[derive(Clone)]
pub struct Check {
    name: &'static str,
    readiness: Readiness,
}

impl Check {
    /// Notes that it works.
    pub fn ok(&self) {
        self.readiness.state().failing.remove(self.name);
    }

    /// Notes that it does not work, with a reason for the operator.
    pub fn fail(&self, reason: impl Into<String>) {
        self.readiness.state().failing.insert(self.name, reason.into());
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Check").field(&self.name).finish()
    }
}

/// Why the service is not ready. Its text has one line for each reason.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct NotReady(Vec<String>);
