//! The connection to Redis, and the name of every key.

use std::{path::Path, sync::Arc, time::Duration};

use fred::{
    clients::Client,
    error::Error,
    interfaces::{ClientLike, KeysInterface},
    types::{
        Builder,
        config::{ReconnectPolicy, TcpConfig, UnresponsiveConfig},
    },
};
use secrecy::SecretString;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use crate::{StoreError, TopicPartition};

/// How long Redis may take.
#[derive(Clone, Copy, Debug)]
pub struct RedisLimits {
    /// For one command, the time that it waits for a connection included.
    pub command: Duration,
}

/// Commands that may wait at once while Redis does not answer; the next one fails at once.
const MAX_WAITING_COMMANDS: usize = 10_000;

/// How long an answer may be overdue before the connection counts as dead and is made anew.
const UNRESPONSIVE_AFTER: Duration = Duration::from_secs(3);

/// A client of Redis that connects again by itself, and the keys of one deployment.
///
/// Cheap to clone; clones share the connection. It may send a command a second time when the
/// connection broke before the answer came, so only commands that are harmless twice may go through
/// it: the scripts of [`crate::Projection`] are, a plain `INCR` is not.
#[derive(Clone, Debug)]
pub struct Redis {
    client: Client,
    keys: Keys,
    /// Ends with the last clone. The task holds the client itself, so by itself it would never end,
    /// and go on connecting to a server that nobody needs.
    _connection: Arc<Connection>,
}

/// What goes on in the background.
type Connection = (AbortOnDropHandle<Result<(), Error>>, JoinSet<()>);

/// Where everything is in Redis, behind the prefix of one deployment.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    prefix: Arc<str>,
}

impl Redis {
    /// Makes the client and begins to connect in the background: a Redis that is away is no error
    /// here, and none later but for the commands that time out meanwhile. One that refuses us is
    /// logged as an error, once for each reason.
    ///
    /// With a `rediss://` URL the connection is encrypted, and somebody in `ca_file` (`None`: whom the
    /// system trusts) must vouch for the server.
    ///
    /// # Errors
    ///
    /// Only where `url` is no Redis URL, or the certificates cannot be read.
    pub fn connect(
        url: &SecretString,
        ca_file: Option<&Path>,
        prefix: &str,
        limits: RedisLimits,
    ) -> Result<Self, StoreError> {
        let client = Builder::from_config(redis_access::config(url, ca_file)?)
            .with_connection_config(|it| {
                it.connection_timeout = Duration::from_secs(2);
                it.internal_command_timeout = Duration::from_secs(2);
                it.max_command_buffer_len = MAX_WAITING_COMMANDS;
                it.unresponsive = UnresponsiveConfig {
                    max_timeout: Some(UNRESPONSIVE_AFTER),
                    interval: UNRESPONSIVE_AFTER / 3,
                };
                it.tcp = TcpConfig { nodelay: Some(true), ..TcpConfig::default() };
            })
            .with_performance_config(|it| it.default_command_timeout = limits.command)
            // For ever (0 attempts), 50 ms to 2 s apart, doubling.
            .set_policy(ReconnectPolicy::new_exponential(0, 50, 2_000, 2))
            .build()
            .map_err(StoreError::Redis)?;
        let refusals = redis_access::log_refusals(&client);
        let connection = Arc::new((AbortOnDropHandle::new(client.connect()), refusals));
        Ok(Self { client, keys: Keys::new(prefix), _connection: connection })
    }

    /// Asks whether Redis answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        // A read of a key that need not exist: unlike PING it needs no right beyond reading.
        Ok(self.client.exists(self.keys.active_ads()).await?)
    }

    /// Says whether there is a connection, as far as is known: one that broke less than 50 ms ago
    /// still counts as one, and so does one to a Redis that hangs, for some seconds.
    pub fn is_connected(&self) -> bool {
        self.client.is_connected()
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }
}

impl Keys {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.into() }
    }

    /// The pattern that every key of [`totals`](Self::totals) matches.
    pub(crate) fn all_totals(&self) -> String {
        format!("{}:totals:*", self.prefix)
    }

    /// A hash: ad id → events of one Kafka partition, and `epoch` and `offset` beside them.
    pub(crate) fn totals(&self, at: &TopicPartition) -> String {
        format!("{}:totals:{}:{}", self.prefix, at.topic, at.partition)
    }

    /// The active ads as the reader rendered them.
    pub(crate) fn active_ads(&self) -> String {
        format!("{}:active-ads", self.prefix)
    }

    /// The same, kept for when Postgres is away.
    pub(crate) fn kept_active_ads(&self) -> String {
        format!("{}:kept-active-ads", self.prefix)
    }
}
