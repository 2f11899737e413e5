//! What `DATABASE_URL` says, with the words for encryption that libpq knows and tokio-postgres does not.

use percent_encoding::percent_decode_str;
use redis_access::Roots;
use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::{Config, config::SslMode};

use crate::StoreError;

/// Where the database is, and how its server is talked to.
#[derive(Clone, Debug)]
pub(crate) struct PostgresUrl {
    pub(crate) config: Config,
    /// `None` where nothing is encrypted.
    pub(crate) encryption: Option<Roots>,
}

impl PostgresUrl {
    /// Reads the URL. `sslmode` is `disable` (what holds where it is absent) or `verify-full`, with
    /// `sslrootcert` a file, or `system` (what holds where it is absent).
    ///
    /// # Errors
    ///
    /// [`StoreError::Setting`], which says nothing of what the URL holds. Every other `sslmode` is
    /// refused: `allow` and `prefer` may not encrypt, and what `require` and `verify-ca` encrypt may
    /// be for somebody else to read.
    pub(crate) fn parse(url: &SecretString) -> Result<Self, StoreError> {
        let (base, query) = match url.expose_secret().split_once('?') {
            Some((base, query)) => (base, query),
            None => (url.expose_secret(), ""),
        };
        let (mut mode, mut roots, mut others) = (None, None, Vec::new());
        for parameter in query.split('&').filter(|it| !it.is_empty()) {
            match parameter.split_once('=') {
                Some(("sslmode", value)) => mode = Some(decoded(value)?),
                Some(("sslrootcert", value)) => roots = Some(decoded(value)?),
                Some(("sslcert" | "sslkey" | "sslpassword" | "sslcrl" | "sslcrldir", _)) => {
                    return Err(wrong(
                        "has a parameter for client certificates or revocation, which are not \
                         supported: users prove themselves by password (SCRAM)",
                    ));
                }
                _ => others.push(parameter),
            }
        }
        let encryption = encryption(mode.as_deref(), roots)?;

        let rest = if others.is_empty() {
            SecretString::from(base)
        } else {
            SecretString::from(format!("{base}?{}", others.join("&")))
        };
        let mut config: Config = rest
            .expose_secret()
            .parse()
            .map_err(|_| wrong("is no Postgres URL (postgres://user@host/db)"))?;
        config.ssl_mode(match encryption {
            Some(_) => SslMode::Require,
            None => SslMode::Disable,
        });
        Ok(Self { config, encryption })
    }
}

fn encryption(mode: Option<&str>, roots: Option<String>) -> Result<Option<Roots>, StoreError> {
    match mode {
        None | Some("disable") if roots.is_some() => {
            Err(wrong("has sslrootcert without sslmode=verify-full, which would not be looked at"))
        }
        None | Some("disable") => Ok(None),
        Some("verify-full") => Ok(Some(match roots {
            None => Roots::System,
            Some(system) if system == "system" => Roots::System,
            Some(path) => Roots::File(path.into()),
        })),
        Some(_) => Err(wrong(
            "has an sslmode other than disable and verify-full: the others do not make sure who \
             answers",
        )),
    }
}

fn decoded(value: &str) -> Result<String, StoreError> {
    let text = percent_decode_str(value).decode_utf8();
    text.map(Into::into).map_err(|_| wrong("is not UTF-8"))
}

fn wrong(what: &str) -> StoreError {
    StoreError::Setting(format!("DATABASE_URL {what}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<PostgresUrl, String> {
        PostgresUrl::parse(&url.into()).map_err(|it| it.to_string())
    }

    #[test]
    fn nothing_is_encrypted_unless_the_url_asks_for_it() {
        for url in ["postgres://ads:secret@db/ads", "postgres://ads@db/ads?sslmode=disable"] {
            let url = parse(url).expect("a url");

            assert_eq!((url.encryption, url.config.get_ssl_mode()), (None, SslMode::Disable));
        }
    }

    #[test]
    fn verify_full_takes_its_authority_from_a_file_or_from_the_system() {
        let base = "postgres://ads@db/ads?application_name=x&sslmode=verify-full";
        for (more, expected) in [
            ("", Roots::System),
            ("&sslrootcert=system", Roots::System),
            ("&sslrootcert=/run/my%20ca.pem", Roots::File("/run/my ca.pem".into())),
        ] {
            let url = parse(&format!("{base}{more}")).expect("a url");

            assert_eq!(url.encryption, Some(expected));
            assert_eq!(url.config.get_ssl_mode(), SslMode::Require);
            assert_eq!(url.config.get_application_name(), Some("x"));
        }
    }

    #[test]
    fn what_would_be_weaker_than_asked_for_is_refused_without_a_secret() {
        for query in [
            "sslmode=require",
            "sslmode=verify-ca",
            "sslmode=prefer",
            "sslmode=allow",
            "sslmode=Verify-Full",
            "sslrootcert=/ca.pem",
            "sslmode=disable&sslrootcert=/ca.pem",
            "sslmode=verify-full&sslcert=/me.pem",
            "sslmode=verify-full&unknown=1",
        ] {
            let refused = parse(&format!("postgres://ads:hunter2@db/ads?{query}"));

            let refused = refused.expect_err(query);
            assert!(refused.starts_with("setting: DATABASE_URL "), "{refused}");
            assert!(!refused.contains("hunter2"), "{refused}");
        }
    }
}
