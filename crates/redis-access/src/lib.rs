//! How every client gets into Redis: TLS and login, and what it means when Redis refuses.
//!
//! Whom TLS believes ([`Roots`]) is the same for the client of Postgres.

mod refusal;
mod tls;

use std::path::Path;

use fred::types::config::{Config, TlsConnector};
use secrecy::{ExposeSecret as _, SecretString};

pub use crate::{
    refusal::log_refusals,
    tls::{Roots, is_about_a_certificate},
};

/// Why a setting cannot be used. It says nothing of a secret.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(String);

/// Begins the configuration of a client. A Redis that is away is waited for.
///
/// With a `rediss://` URL the connection is encrypted, and somebody in `ca_file` (`None`: whom the
/// system trusts) must vouch for the server.
///
/// # Errors
///
/// Only where `url` is no Redis URL, or the certificates cannot be read.
pub fn config(url: &SecretString, ca_file: Option<&Path>) -> Result<Config, Unusable> {
    let url = url.expose_secret();
    let (plain, is_tls) = match url.strip_prefix("rediss://") {
        // Without the "s": the library would otherwise look for certificates by itself.
        Some(rest) => (SecretString::from(format!("redis://{rest}")), true),
        None => (url.into(), false),
    };
    let config = Config::from_url(plain.expose_secret())
        .map_err(|_| Unusable("REDIS_URL is no Redis URL (redis://host:port/db)".to_owned()))?;
    let tls = if is_tls {
        let roots = ca_file.map_or(Roots::System, |path| Roots::File(path.to_owned()));
        Some(TlsConnector::from(roots.client_config("REDIS_CA_FILE")?).into())
    } else {
        None
    };
    Ok(Config { tls, fail_fast: false, ..config })
}
