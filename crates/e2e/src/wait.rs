//! Waiting for a condition, with a limit.

use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

use tokio::time::sleep;

/// How long anything may take that should happen soon. Generous: a rebalance alone may take 10 s,
/// and builds share the machine.
pub const LIMIT: Duration = Duration::from_secs(90);

/// Between two looks.
pub(crate) const POLL: Duration = Duration::from_millis(20);

/// Waits until `condition` holds.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < LIMIT, "waited {LIMIT:?} in vain until {what}");
        sleep(POLL).await;
    }
}

/// Waits until `look` sees `expected`; says what it saw last where it never does.
pub async fn until_equal<T: Debug + PartialEq>(
    what: &str,
    expected: &T,
    mut look: impl AsyncFnMut() -> T,
) {
    let started = Instant::now();
    loop {
        let seen = look().await;
        if seen == *expected {
            return;
        }
        if started.elapsed() >= LIMIT {
            assert_eq!(seen, *expected, "waited {LIMIT:?} in vain until {what}");
        }
        sleep(POLL).await;
    }
}
