//! What can go wrong with a store, and what the caller can do about it.

use std::borrow::Cow;

use deadpool_postgres::PoolError;
use tokio_postgres::error::{DbError, SqlState};

/// A store that did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("postgres: {}", describe(.0))]
    Postgres(#[from] tokio_postgres::Error),
    #[error("no connection to postgres: {}", describe_pool(.0))]
    Pool(#[from] PoolError),
    #[error("postgres did not answer within {0:?}")]
    TimedOut(std::time::Duration),
    #[error("redis: {0}")]
    Redis(#[from] fred::error::Error),
    #[error("migrations: {0}")]
    Migration(#[from] refinery::Error),
    #[error("{0} in the store is malformed")]
    Malformed(&'static str),
    #[error("setting: {0}")]
    Setting(Cow<'static, str>),
}

/// Why an operation is tried again; the label of a metric.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum RetryReason {
    Connection,
    Deadlock,
    Serialization,
    LockTimeout,
    DiskFull,
    TooManyConnections,
    Permission,
    Other,
}

impl RetryReason {
    pub const ALL: [Self; 8] = [
        Self::Connection,
        Self::Deadlock,
        Self::Serialization,
        Self::LockTimeout,
        Self::DiskFull,
        Self::TooManyConnections,
        Self::Permission,
        Self::Other,
    ];
}

impl From<redis_access::Unusable> for StoreError {
    fn from(unusable: redis_access::Unusable) -> Self {
        Self::Setting(unusable.to_string().into())
    }
}

impl StoreError {
    /// Whether Postgres refuses a value, and always will (SQLSTATE class 22 "data exception" or 23
    /// "integrity constraint violation").
    pub fn is_refusal(&self) -> bool {
        self.sql_state()
            .is_some_and(|it| it.code().starts_with("22") || it.code().starts_with("23"))
    }

    /// Whether the day of an event has no table. Postgres reports that as a check violation without
    /// the name of a constraint.
    pub fn is_missing_day(&self) -> bool {
        match self {
            Self::Postgres(error) => error.as_db_error().is_some_and(|it| {
                *it.code() == SqlState::CHECK_VIOLATION && it.constraint().is_none()
            }),
            _ => false,
        }
    }

    /// Whether the store was too slow, rather than away or unwilling.
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::TimedOut(_) | Self::Pool(PoolError::Timeout(_)) => true,
            Self::Redis(error) => *error.kind() == fred::error::ErrorKind::Timeout,
            _ => self.sql_state() == Some(&SqlState::QUERY_CANCELED),
        }
    }

    /// Whether another transaction held a lock for too long.
    pub(crate) fn is_lock_timeout(&self) -> bool {
        self.sql_state() == Some(&SqlState::LOCK_NOT_AVAILABLE)
    }

    /// Whether less work at a time may succeed where this failed: the statement ran out of time, or
    /// the server out of memory or locks (SQLSTATE 57014, 53200, 54000 "program limit exceeded").
    pub fn is_too_large(&self) -> bool {
        self.sql_state().is_some_and(|it| matches!(it.code(), "57014" | "53200" | "54000"))
    }

    /// Whether trying again cannot help: the database holds another history of migrations, or a
    /// setting is wrong.
    pub fn is_permanent(&self) -> bool {
        use refinery::error::Kind;
        match self {
            Self::Setting(_) => true,
            Self::Migration(error) => !matches!(error.kind(), Kind::Connection(..)),
            _ => false,
        }
    }

    /// The group this failure belongs to.
    pub fn retry_reason(&self) -> RetryReason {
        let Some(state) = self.sql_state() else {
            return match self {
                Self::Setting(_) | Self::Malformed(_) => RetryReason::Other,
                _ => RetryReason::Connection,
            };
        };
        match state.code() {
            "40P01" => RetryReason::Deadlock,
            "40001" => RetryReason::Serialization,
            "55P03" => RetryReason::LockTimeout,
            "53100" => RetryReason::DiskFull,
            "53300" => RetryReason::TooManyConnections,
            // Class 28: a login that is refused.
            code if code == "42501" || code.starts_with("28") => RetryReason::Permission,
            // Class 08: connection exception. Class 57: operator intervention (shutdown, restart).
            code if code.starts_with("08") || code.starts_with("57") => RetryReason::Connection,
            _ => RetryReason::Other,
        }
    }

    fn sql_state(&self) -> Option<&SqlState> {
        match self {
            Self::Postgres(error) | Self::Pool(PoolError::Backend(error)) => error.code(),
            _ => None,
        }
    }
}

/// tokio-postgres says only "db error": the server's own words are what helps, and what to look at
/// where it refuses who comes.
fn describe(error: &tokio_postgres::Error) -> String {
    let source = std::error::Error::source(error);
    let said = match (error.as_db_error(), source) {
        (Some(it), _) => format!("{}: {} ({})", it.severity(), it.message(), it.code().code()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    };
    match remedy(error) {
        Some(remedy) => format!("{said}; {remedy}"),
        None => said,
    }
}

fn remedy(error: &tokio_postgres::Error) -> Option<&'static str> {
    if let Some(refusal) = error.as_db_error() {
        return remedy_of(refusal);
    }
    if redis_access::is_about_a_certificate(error) {
        return Some(
            "sslrootcert in DATABASE_URL must hold who signed the server's certificate, and the \
             certificate must name the host of the URL",
        );
    }
    let refused_tls = std::error::Error::source(error)
        .is_some_and(|it| it.to_string() == "server does not support TLS");
    refused_tls.then_some("DATABASE_URL asks for sslmode=verify-full, which the server must offer")
}

fn remedy_of(refusal: &DbError) -> Option<&'static str> {
    match refusal.code().code() {
        "28000" if refusal.message().contains("no encryption") => {
            Some("the server wants TLS: add sslmode=verify-full to DATABASE_URL")
        }
        code if code.starts_with("28") => Some("look at user and password in DATABASE_URL"),
        "42501" => Some("look at what `adctl roles` grants"),
        _ => None,
    }
}

fn describe_pool(error: &PoolError) -> String {
    match error {
        PoolError::Backend(error) => describe(error),
        other => other.to_string(),
    }
}
