//! Starts again what dies, more and more slowly where it dies again and again.

use std::convert::Infallible;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use local_stack::prometheus::Prometheus;
use local_stack::server::{Recipe, Server};
use local_stack::service::Service;
use local_stack::stack::Stack;
use tokio::time::{Instant, sleep};

use super::services::Services;
use crate::command::say;

/// How often everything is looked at.
const PERIOD: Duration = Duration::from_millis(250);

/// Starts whatever dies, for as long as the pipeline is up.
///
/// # Cancellation
///
/// Cancel safe: a store that is just being started is killed.
pub(super) async fn watch(
    stack: &mut Stack,
    services: &mut Services,
    mut prometheus: Option<&mut Prometheus>,
) -> Infallible {
    let mut kafka = Attempts::default();
    let mut postgres = Attempts::default();
    let mut redis = Attempts::default();
    let mut watcher = Attempts::default();
    let mut each = [Attempts::default(); 3];

    loop {
        store(stack.kafka.as_mut(), &mut kafka).await;
        store(stack.postgres.as_mut(), &mut postgres).await;
        store(stack.redis.as_mut(), &mut redis).await;
        store(prometheus.as_deref_mut(), &mut watcher).await;
        for (service, attempts) in services.all.iter_mut().zip(&mut each) {
            mend(service, attempts);
        }
        sleep(PERIOD).await;
    }
}

async fn store<R: Recipe>(server: Option<&mut Server<R>>, attempts: &mut Attempts) {
    let Some(server) = server else { return };
    if server.is_running() || !attempts.due(R::NAME, &"", server.place().log()) {
        return;
    }
    match server.restart().await {
        Ok(()) => say::progress(&format!("{} is up again", R::NAME)),
        Err(error) => say::progress(&error.to_string()),
    }
}

fn mend(service: &mut Service, attempts: &mut Attempts) {
    let how = match (service.exited(), service.pid()) {
        (Some(status), _) => format!(" ({status})"),
        // An earlier attempt has failed.
        (None, None) => String::new(),
        (None, Some(_running)) => return,
    };
    let (name, log) = (service.plan().name, service.plan().log.clone());
    if !attempts.due(name, &how, &log) {
        return;
    }
    if let Err(error) = service.restart() {
        say::progress(&error.to_string());
    }
}

/// When something that has died is started next.
#[derive(Clone, Copy, Debug, Default)]
struct Attempts {
    /// Deaths in a row, each soon after the start.
    in_a_row: u32,
    last: Option<Instant>,
    planned: Option<Instant>,
}

impl Attempts {
    const SHORTEST: Duration = Duration::from_millis(500);
    const LONGEST: Duration = Duration::from_secs(30);
    /// Whoever has lived for this long has not died of its start.
    const SETTLED: Duration = Duration::from_mins(1);

    /// Tells whether now is the time for a start; says at the first look what will be done.
    fn due(&mut self, name: &str, how: &dyn fmt::Display, log: &Path) -> bool {
        let now = Instant::now();
        let planned = self.planned.unwrap_or_else(|| {
            let wait = self.next_wait(now);
            say::progress(&format!(
                "{name} has ended{how}; starting it again in {:.1} s, its log is {}",
                wait.as_secs_f64(),
                log.display()
            ));
            now + wait
        });
        self.planned = Some(planned);
        if now < planned {
            return false;
        }
        self.planned = None;
        self.last = Some(now);
        true
    }

    fn next_wait(&mut self, now: Instant) -> Duration {
        let died_at_once = self.last.is_some_and(|last| now - last < Self::SETTLED);
        self.in_a_row = if died_at_once { self.in_a_row.saturating_add(1) } else { 0 };
        let doubled = Self::SHORTEST.saturating_mul(1 << self.in_a_row.min(10));
        doubled.min(Self::LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dies_at_once_is_started_more_and_more_slowly() {
        let mut attempts = Attempts::default();
        let now = Instant::now();

        let waits: Vec<_> = (0..9)
            .map(|_| {
                let wait = attempts.next_wait(now);
                attempts.last = Some(now);
                wait.as_millis()
            })
            .collect();

        assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
    }

    #[test]
    fn what_has_lived_for_a_while_is_started_quickly_again() {
        let mut attempts = Attempts { in_a_row: 8, last: Some(Instant::now()), planned: None };

        let wait = attempts.next_wait(Instant::now() + Attempts::SETTLED);

        assert_eq!(wait, Attempts::SHORTEST);
    }
}
