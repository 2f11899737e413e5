//! Brings the schema of a database up to this release.

use std::time::Duration;

use refinery::Report;
use secrecy::SecretString;
use tracing::info;

use crate::{StoreError, pool};

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// Key of the advisory lock that lets one migrate while the others wait: the ASCII of "adclicks".
const LOCK: i64 = 0x6164_636c_6963_6b73;

/// How long to wait for another process that migrates.
const LOCK_TIMEOUT: Duration = Duration::from_mins(10);

/// Applies every migration that the database does not have yet, and returns the names of those.
///
/// Any number of processes may call this at once: one migrates, the others wait and find nothing
/// left to do.
///
/// # Errors
///
/// A migration that fails is rolled back; those before it stay. A database whose applied migrations
/// differ from this release's is refused.
///
/// # Cancellation
///
/// Dropping the future closes the connection: the server rolls back what was under way and lets the
/// lock go.
pub async fn migrate(url: &SecretString) -> Result<Vec<String>, StoreError> {
    let (mut client, _connection) = pool::connect(url, "migrations").await?;

    client
        .batch_execute(&format!(
            "SET lock_timeout = {}; SET statement_timeout = 0;
             SELECT pg_advisory_lock({LOCK});
             SET lock_timeout = '30s';",
            LOCK_TIMEOUT.as_millis()
        ))
        .await?;
    let report: Report = embedded::migrations::runner().run_async(&mut client).await?;

    let applied: Vec<String> =
        report.applied_migrations().iter().map(ToString::to_string).collect();
    if !applied.is_empty() {
        info!(migrations = ?applied, "the database was brought up to this release");
    }
    Ok(applied)
}
