//! The connection to Redis, and the name of every key.

use std::{path::Path, sync::Arc, time::Duration};

use fred::{
    clients::Client,
    error::{Error, ErrorKind},
    interfaces::{ClientLike, EventInterface, KeysInterface},
    types::{
        Builder,
        config::{Config, ReconnectPolicy, Server, TcpConfig, TlsConnector, UnresponsiveConfig},
    },
};
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;
use tracing::error;

use crate::{
    StoreError, TopicPartition,
    tls::{self, Roots},
};

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
        let config = config(url, ca_file)?;
        let client = Builder::from_config(Config { fail_fast: false, ..config })
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
        let (failures, reconnects) = (client.error_rx(), client.reconnect_rx());
        let mut telling = JoinSet::new();
        telling.spawn(tell(failures, reconnects));
        let connection = Arc::new((AbortOnDropHandle::new(client.connect()), telling));
        Ok(Self { client, keys: Keys::new(prefix), _connection: connection })
    }

    /// Asks whether Redis answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        // A read of a key that need not exist: unlike PING it needs no right beyond reading.
        Ok(self.client.exists(self.keys.active_ads()).await?)
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }
}

fn config(url: &SecretString, ca_file: Option<&Path>) -> Result<Config, StoreError> {
    let malformed =
        || StoreError::Setting("REDIS_URL is no Redis URL (redis://host:port/db)".into());
    let Some(rest) = url.expose_secret().strip_prefix("rediss://") else {
        return Config::from_url(url.expose_secret()).map_err(|_| malformed());
    };
    // Without the "s": the library would otherwise look for certificates by itself.
    let plain = SecretString::from(format!("redis://{rest}"));
    let mut config = Config::from_url(plain.expose_secret()).map_err(|_| malformed())?;
    let roots = ca_file.map_or(Roots::System, |path| Roots::File(path.to_owned()));
    config.tls = Some(TlsConnector::from(roots.client_config("REDIS_CA_FILE")?).into());
    Ok(config)
}

/// Logs why Redis refuses us, once until it lets us in or the reason is another one. That it is away
/// is for those to tell whose commands fail.
async fn tell(mut failures: Receiver<(Error, Option<Server>)>, mut reconnects: Receiver<Server>) {
    let mut told = None;
    loop {
        // Both are cancel safe.
        tokio::select! {
            failure = failures.recv() => match failure {
                Ok((failure, _server)) => {
                    let Some(remedy) = remedy(&failure) else { continue };
                    if told.replace(remedy) != Some(remedy) {
                        error!(error = %failure, remedy, "redis refuses the connection");
                    }
                }
                // There will be more of them.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
            Ok(_server) = reconnects.recv() => told = None,
        }
    }
}

/// What to look at where trying again cannot help.
fn remedy(failure: &Error) -> Option<&'static str> {
    let said = failure.details();
    if tls::is_about_a_certificate(failure) || said.contains("invalid peer certificate") {
        return Some(
            "REDIS_CA_FILE must hold who signed the server's certificate, and the certificate \
             must name the host of REDIS_URL",
        );
    }
    match failure.kind() {
        ErrorKind::Auth => Some("look at user and password in REDIS_URL"),
        ErrorKind::Tls => Some("REDIS_URL begins with rediss://: the server must offer TLS there"),
        _ if said.starts_with("NOPERM") => Some("look at what docs/SECURITY.md lets the user do"),
        _ => None,
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
