//! The system's limit of open files, which is one of connections too.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::{info, warn};

/// Files that a service has open besides its clients' connections: those to the stores, logs,
/// libraries, and a connection that is accepted while another is closed.
const BESIDES: u64 = 256;

/// Makes sure that the process may have this many connections open, and returns how many it may have.
///
/// Raises the soft limit as far as the hard one allows. Where that is not enough, a warning says so:
/// a server that runs out of files can neither accept a connection nor open anything else.
pub fn make_room_for(connections: usize) -> usize {
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) => {
            let plan = Plan::of(connections, soft, hard);
            if let Some(soft) = plan.raise_to
                && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, soft, hard)
            {
                warn!(%error, "limit of open files could not be raised");
                return Plan::of(connections, soft, soft).tell(connections);
            }
            plan.tell(connections)
        }
        Err(error) => {
            warn!(%error, "limit of open files is not known");
            connections
        }
    }
}

/// What to do about the limit.
#[derive(Debug, Eq, PartialEq)]
struct Plan {
    raise_to: Option<u64>,
    limit: u64,
    connections: usize,
}

impl Plan {
    fn of(connections: usize, soft: u64, hard: u64) -> Self {
        let needed = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(BESIDES);
        let raise_to = (soft < needed && soft < hard).then(|| needed.min(hard));
        let limit = raise_to.unwrap_or(soft);
        let possible = limit.saturating_sub(BESIDES).max(1);
        let connections = connections.min(usize::try_from(possible).unwrap_or(usize::MAX));
        Self { raise_to, limit, connections }
    }

    fn tell(self, asked_for: usize) -> usize {
        let Self { raise_to, limit, connections } = self;
        if connections < asked_for {
            warn!(
                limit,
                connections,
                asked_for,
                "limit of open files (ulimit -n) is too low, serving fewer connections at once"
            );
        } else if raise_to.is_some() {
            info!(limit, "raised the limit of open files");
        }
        connections
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_high_enough_is_left_alone() {
        let plan = Plan::of(10_000, 20_000, 20_000);

        assert_eq!(plan, Plan { raise_to: None, limit: 20_000, connections: 10_000 });
    }

    #[test]
    fn a_soft_limit_is_raised_to_what_is_needed() {
        let plan = Plan::of(10_000, 1024, 1_048_576);

        assert_eq!(plan, Plan { raise_to: Some(10_256), limit: 10_256, connections: 10_000 });
    }

    #[test]
    fn under_a_low_hard_limit_fewer_connections_are_served() {
        let plan = Plan::of(10_000, 1024, 4096);

        assert_eq!(plan, Plan { raise_to: Some(4096), limit: 4096, connections: 3840 });
        assert_eq!(Plan::of(10_000, 100, 100).connections, 1, "nobody could be served with less");
    }

    #[test]
    fn this_process_may_have_some_connections() {
        assert_eq!(make_room_for(10), 10);
        assert!(make_room_for(usize::MAX) < usize::MAX);
    }
}
