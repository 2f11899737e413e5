//! How many connections there are, of whom, and which of them make room.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::address::AddressKey;
use super::limits::ServerLimits;
use super::metrics::{OpenConnection, ServerMetrics};
use super::pace::Pace;

/// Which part of all connections makes room at once where there are too many: to find those that
/// have waited longest all have to be looked at, which should not be done for each new one.
const EVICTED_PART: usize = 64;

/// How often it is looked again for connections that could make room while all are busy.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The connections of one server.
#[derive(Debug)]
pub(super) struct Crowd {
    permits: Arc<Semaphore>,
    max: usize,
    limits: Arc<ServerLimits>,
    metrics: ServerMetrics,
    members: Mutex<Members>,
}

#[derive(Debug, Default)]
struct Members {
    next: u64,
    paces: HashMap<u64, Arc<Pace>>,
    /// Connections by address, for those that are counted. None is zero, so it is as bounded as the
    /// connections are.
    by_address: HashMap<AddressKey, usize>,
}

/// The place of one connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    crowd: Arc<Crowd>,
    number: u64,
    counted_as: Option<AddressKey>,
    pub(super) pace: Arc<Pace>,
    _permit: OwnedSemaphorePermit,
    _open: OpenConnection,
}

impl Crowd {
    pub(super) fn new(limits: Arc<ServerLimits>, metrics: ServerMetrics) -> Self {
        let max = limits.max_connections.clamp(1, Semaphore::MAX_PERMITS);
        let permits = Arc::new(Semaphore::new(max));
        Self { permits, max, limits, metrics, members: Mutex::default() }
    }

    /// Waits for room for one more connection, and makes some where none is left.
    ///
    /// Cancel safe: what was evicted meanwhile is room for somebody else.
    pub(super) async fn room(&self) -> OwnedSemaphorePermit {
        loop {
            if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
                return permit;
            }
            self.evict();
            let permit = Arc::clone(&self.permits).acquire_owned();
            // The semaphore is never closed.
            if let Ok(Ok(permit)) = timeout(LOOK_AGAIN, permit).await {
                return permit;
            }
        }
    }

    /// Takes the place of a connection from `peer`; `None` where its address has too many.
    pub(super) fn enter(
        self: &Arc<Self>,
        peer: IpAddr,
        permit: OwnedSemaphorePermit,
    ) -> Option<Place> {
        let exempt = self.limits.many_connections.contains(peer);
        let counted_as = (!exempt).then(|| AddressKey::of(peer));
        let pace = Arc::new(Pace::new());

        let mut members = self.members();
        if let Some(key) = counted_as {
            let count = members.by_address.entry(key).or_default();
            if *count >= self.limits.max_connections_per_address.max(1) {
                return None;
            }
            *count += 1;
        }
        let number = members.next;
        members.next += 1;
        members.paces.insert(number, Arc::clone(&pace));
        drop(members);
        Some(Place {
            crowd: Arc::clone(self),
            number,
            counted_as,
            pace,
            _permit: permit,
            _open: self.metrics.opened(),
        })
    }

    /// Asks those that have waited for their client for longest to make room.
    fn evict(&self) {
        let members = self.members();
        let mut waiting: Vec<_> =
            members.paces.values().filter_map(|pace| Some((pace.waiting_since()?, pace))).collect();
        let count = (self.max / EVICTED_PART).max(1).min(waiting.len());
        if count < waiting.len() {
            waiting.select_nth_unstable_by_key(count, |&(since, _)| since);
        }
        for (_, pace) in &waiting[..count] {
            pace.evict();
        }
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        // Whole after every statement under the lock that can fail, of which there is none.
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut members = self.crowd.members();
        members.paces.remove(&self.number);
        let Some(key) = self.counted_as else { return };
        if let Some(count) = members.by_address.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                members.by_address.remove(&key);
            }
        }
    }
}
