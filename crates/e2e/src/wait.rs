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
pub async fn until(what: &str, condition: impl AsyncFnMut() -> bool) {
    until_within(LIMIT, what, condition).await;
}

/// The same with a limit of its own, where how long it takes is part of what is tested.
pub async fn until_within(
    limit: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> bool,
) -> Duration {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < limit, "waited {limit:?} in vain until {what}");
        sleep(POLL).await;
    }
    started.elapsed()
}

/// Lets a fault last: one that is defined by its duration, such as a process frozen for longer than
/// its session may be silent. Nothing else in a test waits for time to pass.
pub async fn let_last(fault: Duration) {
    sleep(fault).await;
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
