//! Connections to Postgres, set up so that no half-dead one can hold anything for long.

use std::time::Duration;

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolBuilder, RecyclingMethod, Runtime,
};
use redis_access::Roots;
use secrecy::SecretString;
use tokio::{task::JoinSet, time::timeout};
use tokio_postgres::{Client, NoTls};
use tokio_postgres_rustls_improved::MakeRustlsConnect;

use crate::{StoreError, postgres_url::PostgresUrl};

/// The part of the URL that says who may vouch for the server.
const ROOTS: &str = "sslrootcert in DATABASE_URL";

/// How long a new connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a caller waits for a connection of the pool.
const WAIT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a pooled connection may take to show that it is alive before it is thrown away.
const RECYCLE_TIMEOUT: Duration = Duration::from_secs(2);

/// The connection of a counting pool that was taken as lately as this is not asked whether it is alive.
const ALIVE_FOR: Duration = Duration::from_secs(1);

/// How long sent bytes may stay unacknowledged before the peer counts as gone (RFC 5482).
const UNACKNOWLEDGED_LIMIT: Duration = Duration::from_secs(15);

/// What every session asks of the server, beside its own defaults:
///
/// - a commit is on disk before it is answered;
/// - a client that sits still inside a transaction is put out, so that a half-dead consumer cannot
///   hold a fence;
/// - nobody waits for a lock, or runs a statement, without end.
const SESSION: &str = "-c synchronous_commit=on -c idle_in_transaction_session_timeout=15s \
                       -c lock_timeout=5s -c statement_timeout=60s -c timezone=UTC";

/// Makes a pool of at most `size` connections. Nothing is connected before the first use.
///
/// # Errors
///
/// Only where `url` is no Postgres URL, or the certificates that it names cannot be read.
pub fn pool(url: &SecretString, application: &str, size: usize) -> Result<Pool, StoreError> {
    build(&for_sessions(url, application)?, size)
}

/// What the session of a counting pool asks for besides: plans that are made once, and look up what a batch
/// brings. By its own estimates the server would read all totals there are for thousands of them, and also
/// for a few where it has known the table since it was empty. (A table without an index is read all the
/// same, at a cost that nobody should take for a reason to compile a plan.)
const COUNTING_SESSION: &str =
    "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c jit=off";

/// Makes a pool of one connection, for who counts batch after batch.
///
/// It is asked whether it is alive only where it was not used for a second: that is a question and an
/// answer for each batch. Where it has died since, the transaction that finds it out closes it, and
/// the next one has another; a link that fell silent is found out by the limits of every transaction,
/// after 15 s, as in its middle.
///
/// # Errors
///
/// Only where `url` is no Postgres URL, or the certificates that it names cannot be read.
pub fn counting_pool(url: &SecretString, application: &str) -> Result<Pool, StoreError> {
    let mut url = for_sessions(url, application)?;
    let options = url.config.get_options().unwrap_or_default();
    let options = format!("{COUNTING_SESSION} {options}");
    url.config.options(options);
    made(builder(&url, 1, RecyclingMethod::Fast)?.pre_recycle(alive()))
}

/// Makes a pool for one who only reads: the server refuses its connections every write, and ends
/// each statement after `statement_limit`.
///
/// # Errors
///
/// Only where `url` is no Postgres URL.
pub fn read_only_pool(
    url: &SecretString,
    application: &str,
    size: usize,
    statement_limit: Duration,
) -> Result<Pool, StoreError> {
    let mut url = for_sessions(url, application)?;
    let options = url.config.get_options().unwrap_or_default();
    let options = format!(
        "{options} -c default_transaction_read_only=on -c statement_timeout={}ms",
        // Zero would mean no limit.
        statement_limit.as_millis().max(1)
    );
    url.config.options(options);
    build(&url, size)
}

/// Connects once, for who needs no pool. The connection ends when either part of what is returned is
/// dropped.
///
/// # Errors
///
/// Where `url` is no Postgres URL, the certificates that it names cannot be read, or the server
/// cannot be reached or refuses.
pub async fn connect(
    url: &SecretString,
    application: &str,
) -> Result<(Client, JoinSet<Result<(), tokio_postgres::Error>>), StoreError> {
    let PostgresUrl { config, encryption } = for_sessions(url, application)?;
    let mut driver = JoinSet::new();
    let client = match encryption {
        None => {
            let (client, connection) = config.connect(NoTls).await?;
            driver.spawn(connection);
            client
        }
        Some(roots) => {
            let (client, connection) = config.connect(encrypted(&roots)?).await?;
            driver.spawn(connection);
            client
        }
    };
    Ok((client, driver))
}

fn build(url: &PostgresUrl, size: usize) -> Result<Pool, StoreError> {
    made(builder(url, size, RecyclingMethod::Verified)?)
}

fn builder(
    url: &PostgresUrl,
    size: usize,
    recycling_method: RecyclingMethod,
) -> Result<PoolBuilder, StoreError> {
    let config = url.config.clone();
    let recycling = ManagerConfig { recycling_method };
    let manager = match &url.encryption {
        None => Manager::from_config(config, NoTls, recycling),
        Some(roots) => Manager::from_config(config, encrypted(roots)?, recycling),
    };
    Ok(Pool::builder(manager)
        .max_size(size)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(WAIT_TIMEOUT))
        .create_timeout(Some(CONNECT_TIMEOUT))
        .recycle_timeout(Some(RECYCLE_TIMEOUT)))
}

fn made(pool: PoolBuilder) -> Result<Pool, StoreError> {
    pool.build()
        .map_err(|_| StoreError::Setting("the pool of connections could not be made".into()))
}

/// Asks a connection whether it is alive, if it may have died unnoticed.
fn alive() -> Hook {
    Hook::async_fn(|client, metrics| {
        Box::pin(async move {
            if metrics.last_used() < ALIVE_FOR {
                return Ok(());
            }
            match timeout(RECYCLE_TIMEOUT, client.simple_query("")).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(HookError::Backend(error)),
                Err(_elapsed) => Err(HookError::message("the connection is silent")),
            }
        })
    })
}

fn encrypted(roots: &Roots) -> Result<MakeRustlsConnect, StoreError> {
    Ok(MakeRustlsConnect::new(roots.client_config(ROOTS)?))
}

/// Reads the URL and adds what every session needs.
fn for_sessions(url: &SecretString, application: &str) -> Result<PostgresUrl, StoreError> {
    let mut url = PostgresUrl::parse(url)?;
    let options = match url.config.get_options() {
        Some(own) => format!("{SESSION} {own}"),
        None => SESSION.to_owned(),
    };
    url.config
        .options(options)
        .application_name(application)
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_user_timeout(UNACKNOWLEDGED_LIMIT)
        .keepalives(true)
        .keepalives_idle(Duration::from_secs(10))
        .keepalives_interval(Duration::from_secs(3))
        .keepalives_retries(3);
    Ok(url)
}

/// Closes a connection instead of giving it back: nobody knows what state it is in.
pub(crate) fn discard(connection: Object) {
    drop(Object::take(connection));
}
