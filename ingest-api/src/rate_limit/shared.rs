//! The limits that several processes share, in Redis.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use fred::{
    clients::Client,
    error::{Error, ErrorKind},
    interfaces::ClientLike as _,
    types::{
        Builder,
        config::{ReconnectPolicy, TcpConfig, UnresponsiveConfig},
        scripts::Script,
    },
};
use proto_schemas::{DedupSecret, Kind};
use service_kit::{http::AddressKey, settings::CaFile};
use tokio::{task::JoinSet, time::timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::{
    Asked,
    config::SharedLimitConfig,
    gcra::{Left, Limit},
    metrics::SharedOutcome,
};
use crate::{
    circuit::{Change, Circuit, Way},
    table::Micros,
};

/// Commands that may wait at once; the next one fails at once. Requests in flight are fewer.
const MAX_WAITING_COMMANDS: usize = 10_000;

/// How long an answer may be overdue before the connection counts as dead and is made anew.
const UNRESPONSIVE_AFTER: Duration = Duration::from_secs(3);

/// What the user of Redis whom ingest is may do for a deployment's `REDIS_PREFIX`, as `ACL SETUSER` has
/// it: what is sent when connecting, and the script with the commands in it.
pub fn redis_rules(prefix: &str) -> String {
    format!(
        "resetchannels -@all +client|id +info +evalsha +script|load +time +get +set ~{prefix}:limit:*"
    )
}

/// A client of Redis that connects again by itself.
pub(super) struct Shared {
    client: Client,
    script: Script,
    names: Names,
    budget: Duration,
    /// Whether Redis is known to be away, so that not every request waits for the whole budget.
    circuit: Mutex<Circuit>,
    /// The task holds the client itself, so by itself it would never end.
    _connection: (AbortOnDropHandle<Result<(), Error>>, JoinSet<()>),
}

/// What the shared allowances say of one event. None where there is no such limit, or the one before
/// has refused the event already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Answer {
    pub(super) address: Option<Result<Left, Left>>,
    pub(super) ad: Option<Result<Left, Left>>,
}

impl Shared {
    /// Begins to connect in the background: a Redis that is away is no error.
    pub(super) fn connect(
        config: &SharedLimitConfig,
        secret: Option<&DedupSecret>,
    ) -> anyhow::Result<Self> {
        let ca_file = config.redis.ca_file.as_ref().map(CaFile::path);
        let client = Builder::from_config(redis_access::config(&config.redis.url, ca_file)?)
            .with_connection_config(|it| {
                it.connection_timeout = Duration::from_secs(2);
                it.internal_command_timeout = Duration::from_secs(2);
                it.max_command_buffer_len = MAX_WAITING_COMMANDS;
                // Whose budget is over has its answer already: nothing is asked twice.
                it.max_command_attempts = 1;
                it.unresponsive = UnresponsiveConfig {
                    max_timeout: Some(UNRESPONSIVE_AFTER),
                    interval: UNRESPONSIVE_AFTER / 3,
                };
                it.tcp = TcpConfig { nodelay: Some(true), ..TcpConfig::default() };
            })
            .with_performance_config(|it| it.default_command_timeout = config.budget)
            // For ever (0 attempts), 50 ms to 2 s apart, doubling.
            .set_policy(ReconnectPolicy::new_exponential(0, 50, 2_000, 2))
            .build()
            .context("making the client of Redis")?;
        let refusals = redis_access::log_refusals(&client);
        Ok(Self {
            _connection: (AbortOnDropHandle::new(client.connect()), refusals),
            client,
            script: Script::from_lua(include_str!("admit.lua")),
            names: Names { prefix: config.redis.prefix.clone(), secret: secret.cloned() },
            budget: config.budget,
            circuit: Mutex::default(),
        })
    }

    /// Takes events of one address off the allowances that all processes share, in one call.
    ///
    /// # Errors
    ///
    /// Where Redis did not answer within the budget, or is known not to. It may have taken them all the
    /// same, which errs on the side of a limit.
    pub(super) async fn admit(
        &self,
        address: AddressKey,
        events: &[Asked],
    ) -> Result<Vec<Answer>, SharedOutcome> {
        if self.circuit().way(Instant::now()) == Way::Around {
            return Err(SharedOutcome::Skipped);
        }
        let question = Question::new(&self.names, address, events);
        let asking =
            self.script.evalsha_with_reload(&self.client, question.keys, question.arguments);
        // A large future, which would be part of that of every request, also without Redis.
        let asking = Box::pin(asking);
        let answers: Result<Vec<i64>, SharedOutcome> = match timeout(self.budget, asking).await {
            Ok(Ok(numbers)) => Ok(numbers),
            Ok(Err(error)) if *error.kind() == ErrorKind::Timeout => Err(SharedOutcome::Slow),
            Ok(Err(_)) => Err(SharedOutcome::Failed),
            Err(_elapsed) => Err(SharedOutcome::Slow),
        };
        let answers = answers.and_then(|it| read(&it, events).ok_or(SharedOutcome::Failed));
        self.tell(answers.is_ok());
        answers
    }

    fn tell(&self, answered: bool) {
        let change = if answered {
            self.circuit().succeeded()
        } else {
            self.circuit().failed(Instant::now())
        };
        match change {
            Change::Opened => warn!("redis does not answer in time, limits are not shared"),
            Change::Closed => info!("redis answers again, limits are shared"),
            Change::None => {}
        }
    }

    fn circuit(&self) -> MutexGuard<'_, Circuit> {
        // The circuit is whole after every statement under the lock.
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the script is asked.
struct Question {
    keys: Vec<String>,
    arguments: Vec<Micros>,
}

impl Question {
    fn new(names: &Names, address: AddressKey, events: &[Asked]) -> Self {
        let mut question =
            Self { keys: Vec::new(), arguments: Vec::with_capacity(events.len() * 6) };
        let name = names.of(address);
        for Asked { kind, ad, limits } in events {
            let of_address = names.key(*kind, &name);
            let of_ad = format!("{of_address}:{}", ad.get());
            question.push(limits.address, of_address);
            question.push(limits.ad, of_ad);
        }
        question
    }

    fn push(&mut self, limit: Option<Limit>, key: String) {
        let Some(limit) = limit else {
            self.arguments.extend([0, 0, 0]);
            return;
        };
        // A batch has few keys that differ: its addresses, and its ads.
        let known = self.keys.iter().position(|it| *it == key);
        let number = known.unwrap_or_else(|| {
            self.keys.push(key);
            self.keys.len() - 1
        });
        let number = Micros::try_from(number + 1).unwrap_or_default();
        self.arguments.extend([number, limit.interval(), limit.window()]);
    }
}

/// What an address is called in Redis.
struct Names {
    prefix: String,
    /// Where there is one, nobody who reads the keys learns an address.
    secret: Option<DedupSecret>,
}

impl Names {
    fn of(&self, address: AddressKey) -> String {
        let name = match address {
            AddressKey::V4(it) => it.to_string(),
            AddressKey::V6([a, b, c, d]) => format!("{a:x}:{b:x}:{c:x}:{d:x}"),
        };
        match &self.secret {
            Some(secret) => format!("{:032x}", secret.pseudonym("rate limits", name.as_bytes())),
            None => name,
        }
    }

    /// The key of what an address sends of one kind. It lives until its whole allowance is back: a
    /// minute, by default.
    fn key(&self, kind: Kind, name: &str) -> String {
        format!("{}:limit:{}:{name}", self.prefix, kind.as_str())
    }
}

/// Reads the script's answer; `None` where it makes no sense.
fn read(numbers: &[i64], events: &[Asked]) -> Option<Vec<Answer>> {
    if numbers.len() != events.len() * 4 {
        return None;
    }
    let taken = |limit: Option<Limit>, taken: i64, missing: i64| {
        let left = limit?.left(Micros::try_from(missing).ok()?, 0);
        match taken {
            0 => Some(Err(left)),
            1 => Some(Ok(left)),
            _ => None,
        }
    };
    let answers = numbers.chunks_exact(4).zip(events).map(|(it, event)| Answer {
        address: taken(event.limits.address, it[0], it[1]),
        ad: taken(event.limits.ad, it[2], it[3]),
    });
    Some(answers.collect())
}
