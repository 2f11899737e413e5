//! Where Kafka, Postgres and Redis are, and what to do when they are not there.

use std::time::Duration;

use anyhow::anyhow;
use clap::{Args, builder::NonEmptyStringValueParser};
use click_store::{Pool, Redis, RedisLimits, RetryReason, StoreError};
use proto_schemas::Topics;
use rdkafka::{ClientConfig, error::KafkaError};
use secrecy::{ExposeSecret as _, SecretString};
use service_kit::settings::{CaFile, Env, Settings, Vars, groups::KafkaSecurity};

/// How long Kafka may take to answer a question of the operator.
pub(crate) const KAFKA_TIMEOUT: Duration = Duration::from_secs(10);

/// How long Redis may take, connecting included.
const REDIS_TIMEOUT: Duration = Duration::from_secs(1);

/// Where Kafka is.
#[derive(Args, Clone, Debug)]
pub(crate) struct KafkaAt {
    /// Kafka brokers to start from, a comma-separated list of host:port
    #[arg(
        long = "kafka-brokers",
        env = "KAFKA_BROKERS",
        default_value = "127.0.0.1:19092",
        hide_env_values = true,
        value_name = "BROKERS",
        value_parser = NonEmptyStringValueParser::new(),
        help_heading = "Connections"
    )]
    brokers: String,
    /// Put before the name of every topic
    #[arg(
        long,
        env = "TOPIC_PREFIX",
        default_value = "",
        hide_default_value = true,
        hide_env_values = true,
        value_name = "PREFIX",
        help_heading = "Connections"
    )]
    topic_prefix: String,
}

/// Where Postgres is.
#[derive(Args, Clone, Debug)]
pub(crate) struct PostgresAt {
    #[arg(
        long,
        help = "The Postgres database [env: DATABASE_URL or DATABASE_URL_FILE] \
                [default: postgres://ads@127.0.0.1:15432/ads]",
        value_name = "URL",
        help_heading = "Connections"
    )]
    database_url: Option<SecretString>,
}

/// Where Redis is.
#[derive(Args, Clone, Debug)]
pub(crate) struct RedisAt {
    #[arg(
        long,
        help = "The Redis server [env: REDIS_URL or REDIS_URL_FILE, and REDIS_CA_FILE] \
                [default: redis://127.0.0.1:16379]",
        value_name = "URL",
        help_heading = "Connections"
    )]
    redis_url: Option<SecretString>,
    /// Put before every key in Redis
    #[arg(
        long,
        env = "REDIS_PREFIX",
        default_value = "ads",
        hide_env_values = true,
        value_name = "PREFIX",
        value_parser = NonEmptyStringValueParser::new(),
        help_heading = "Connections"
    )]
    redis_prefix: String,
}

/// What the services read too, so that one environment serves all.
struct DatabaseUrl(SecretString);

impl Settings for DatabaseUrl {
    fn read(vars: &mut Vars) -> Self {
        let default = "postgres://ads@127.0.0.1:15432/ads";
        Self(vars.or("DATABASE_URL", default, "The Postgres database"))
    }
}

struct RedisUrl {
    url: SecretString,
    ca_file: Option<CaFile>,
}

impl Settings for RedisUrl {
    fn read(vars: &mut Vars) -> Self {
        Self {
            url: vars.or("REDIS_URL", "redis://127.0.0.1:16379", "The Redis server"),
            ca_file: vars.optional("REDIS_CA_FILE", "Who may vouch for it"),
        }
    }
}

/// Reads what the environment says.
fn environment<S: Settings>() -> Result<S, StoreError> {
    Env::from_process().read().map_err(|wrong| StoreError::Setting(wrong.to_string().into()))
}

impl KafkaAt {
    /// Begins the configuration of a client. TLS and login are as the environment has them
    /// (`KAFKA_SECURITY_PROTOCOL` and its kin).
    pub(crate) fn config(&self) -> anyhow::Result<ClientConfig> {
        let security: KafkaSecurity = Env::from_process().read()?;
        Ok(kafka_access::client_config_of(&self.brokers, &security))
    }

    pub(crate) fn topics(&self) -> Topics {
        Topics::new(&self.topic_prefix)
    }

    /// Says what a failure to reach Kafka means for the operator.
    pub(crate) fn unreachable(&self, error: &KafkaError) -> anyhow::Error {
        let reason = match error.rdkafka_error_code() {
            Some(code) => code.to_string(),
            None => error.to_string(),
        };
        anyhow!(
            "Kafka at {} does not answer ({reason}): is it running? `make run` starts one, and \
             KAFKA_BROKERS names another, with KAFKA_SECURITY_PROTOCOL, KAFKA_CA_FILE, \
             KAFKA_USERNAME and KAFKA_PASSWORD where it wants TLS or a login",
            self.brokers
        )
    }
}

impl PostgresAt {
    pub(crate) fn url(&self) -> Result<SecretString, StoreError> {
        match &self.database_url {
            Some(url) => Ok(url.clone()),
            None => environment().map(|DatabaseUrl(url)| url),
        }
    }

    /// Makes a pool of one connection, which is enough for one command.
    pub(crate) fn pool(&self) -> anyhow::Result<Pool> {
        Ok(click_store::pool(&self.url()?, "adctl", 1)?)
    }

    /// Says what a failure means for the operator.
    pub(crate) fn explain(&self, error: StoreError) -> anyhow::Error {
        let at = self.url().ok().as_ref().and_then(server);
        let at = at.unwrap_or_else(|| "DATABASE_URL".to_owned());
        let code = match &error {
            StoreError::Postgres(error) => error.code().map(|it| it.code().to_owned()),
            _ => None,
        };
        // "undefined table"
        if code.as_deref() == Some("42P01") {
            return anyhow!("the tables are not there yet: `adctl migrate` makes them");
        }
        match error {
            StoreError::Postgres(_) | StoreError::Pool(_) | StoreError::TimedOut(_)
                if error.retry_reason() == RetryReason::Connection =>
            {
                anyhow!(
                    "Postgres at {at} cannot be reached ({}): is it running? `make run` starts \
                     one, and DATABASE_URL names another",
                    root_cause(&error)
                )
            }
            StoreError::Pool(_) => {
                anyhow!("Postgres at {at} refuses the connection ({})", root_cause(&error))
            }
            other => other.into(),
        }
    }
}

impl RedisAt {
    pub(crate) fn connect(&self) -> Result<Redis, StoreError> {
        let RedisUrl { url, ca_file } = self.at()?;
        let limits = RedisLimits { command: REDIS_TIMEOUT };
        Redis::connect(&url, ca_file.as_ref().map(CaFile::path), &self.redis_prefix, limits)
    }

    /// Says what a failure to reach Redis means for the operator.
    pub(crate) fn unreachable(&self, error: &dyn std::error::Error) -> anyhow::Error {
        anyhow!(
            "Redis at {} does not answer ({error}): is it running? `make run` starts one, and \
             REDIS_URL names another",
            self.server()
        )
    }

    /// Where it is, without the password.
    pub(crate) fn server(&self) -> String {
        let at = self.at().ok().and_then(|it| server(&it.url));
        at.unwrap_or_else(|| "REDIS_URL".to_owned())
    }

    fn at(&self) -> Result<RedisUrl, StoreError> {
        let at: RedisUrl = environment()?;
        Ok(match &self.redis_url {
            Some(url) => RedisUrl { url: url.clone(), ..at },
            None => at,
        })
    }
}

/// The host and port of a URL, which leaves out its password.
fn server(url: &SecretString) -> Option<String> {
    let url = reqwest::Url::parse(url.expose_secret()).ok()?;
    let host = url.host_str().filter(|it| !it.is_empty())?;
    Some(match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}

/// The innermost cause: pools and drivers say little more than "error" around it.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_without_its_password() {
        for (url, expected) in [
            ("postgres://ads:secret@db.example:5433/ads", Some("db.example:5433")),
            ("redis://:secret@127.0.0.1:6379/0", Some("127.0.0.1:6379")),
            ("postgres://ads:secret@db.example/ads", Some("db.example")),
            ("postgres:///ads?host=/run/postgresql", None),
            ("host=db.example password=secret", None),
        ] {
            assert_eq!(server(&url.into()).as_deref(), expected, "{url}");
        }
    }
}
