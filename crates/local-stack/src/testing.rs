//! What a test asks for its own corner of a stack that is already up.
//!
//! `local-stack exec -- cargo test …` (and so `make test`) starts the stack and names it in the
//! environment. Tests share its servers, and each has topics, keys and a database of its own.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use proto_schemas::Topics;
use rdkafka::ClientConfig;
use secrecy::ExposeSecret as _;
use service_kit::settings::groups::KafkaSecurity;
use service_kit::settings::{Env, Settings, Vars};

use crate::postgres;
use crate::topics::{self, Topic};

/// The servers that tests share.
#[derive(Clone, Debug)]
pub struct TestStack {
    pub kafka_brokers: String,
    pub kafka_security: KafkaSecurity,
    pub database_url: String,
    pub redis_url: String,
    /// Who may vouch for Redis, where it speaks TLS.
    pub redis_ca_file: Option<PathBuf>,
}

/// Finds the stack that this test runs in.
///
/// # Panics
///
/// Where there is none: a test that was skipped in silence would be worse.
#[track_caller]
#[expect(clippy::panic, reason = "for tests only, where a panic is a failure with a message")]
pub fn stack() -> TestStack {
    match Env::from_process().read() {
        Ok(stack) => stack,
        Err(missing) => {
            panic!("{missing}\nrun `make test`, or `target/debug/local-stack exec -- cargo test …`")
        }
    }
}

impl Settings for TestStack {
    fn read(vars: &mut Vars) -> Self {
        Self {
            kafka_brokers: vars.required("KAFKA_BROKERS", "127.0.0.1:19092", "Kafka"),
            // The stack that tests share demands nothing.
            kafka_security: KafkaSecurity::default(),
            database_url: vars.required(
                "DATABASE_URL",
                "postgres://ads@127.0.0.1:15432/ads",
                "Postgres",
            ),
            redis_url: vars.required("REDIS_URL", "redis://127.0.0.1:16379", "Redis"),
            redis_ca_file: None,
        }
    }
}

impl TestStack {
    /// Begins the configuration of a client of Kafka.
    pub fn kafka_config(&self) -> ClientConfig {
        kafka_access::client_config_of(&self.kafka_brokers, &self.kafka_security)
    }

    /// The settings of a service that uses this stack, but for `DATABASE_URL`: each test has its own
    /// database.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = vec![
            ("KAFKA_BROKERS", self.kafka_brokers.clone()),
            ("REDIS_URL", self.redis_url.clone()),
        ];
        if let KafkaSecurity { tls: Some(tls), login: Some(login) } = &self.kafka_security {
            settings.extend([
                ("KAFKA_SECURITY_PROTOCOL", "SASL_SSL".to_owned()),
                ("KAFKA_USERNAME", login.username.clone()),
                ("KAFKA_PASSWORD", login.password.expose_secret().to_owned()),
            ]);
            let ca_file = tls.ca_file.as_ref().map(|it| it.path().display().to_string());
            settings.extend(ca_file.map(|it| ("KAFKA_CA_FILE", it)));
        }
        let ca_file = self.redis_ca_file.as_ref().map(|it| it.display().to_string());
        settings.extend(ca_file.map(|it| ("REDIS_CA_FILE", it)));
        settings
    }

    /// Names that no other test uses, in this run or another. `name` helps whoever reads a log.
    pub fn scope(&self, name: &str) -> Scope {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let now_us = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        // Postgres folds upper case and cuts a name at 63 bytes.
        let name: String = name.chars().filter(char::is_ascii_alphanumeric).take(20).collect();
        let name = name.to_ascii_lowercase();
        let unique = format!("{name}-{now_us:x}-{:x}-{count:x}", std::process::id());

        Scope {
            stack: self.clone(),
            topic_prefix: format!("{unique}-"),
            redis_prefix: unique.clone(),
            consumer_group: format!("{unique}-group"),
            database: unique.replace('-', "_"),
        }
    }
}

/// One test's own names on the shared servers.
#[derive(Clone, Debug)]
pub struct Scope {
    pub stack: TestStack,
    /// For `TOPIC_PREFIX`.
    pub topic_prefix: String,
    /// For `REDIS_PREFIX`.
    pub redis_prefix: String,
    /// For `CONSUMER_GROUP`.
    pub consumer_group: String,
    database: String,
}

impl Scope {
    /// The names of the pipeline's topics in this scope.
    pub fn topics(&self) -> Topics {
        Topics::new(&self.topic_prefix)
    }

    /// Makes a new, empty database and returns its url.
    ///
    /// # Panics
    ///
    /// Where Postgres refuses.
    #[expect(clippy::panic, reason = "for tests only, where a panic is a failure with a message")]
    pub async fn create_database(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("t{}_{}", COUNT.fetch_add(1, Ordering::Relaxed), self.database);
        let statement = format!("CREATE DATABASE {name}");
        if let Err(error) = postgres::execute(&self.stack.database_url, &[&statement]).await {
            panic!("database {name} could not be made: {error}");
        }
        with_database(&self.stack.database_url, &name)
    }

    /// Drops a database that [`Scope::create_database`] has made, and whoever is connected to it.
    ///
    /// # Panics
    ///
    /// Where Postgres refuses.
    #[expect(clippy::panic, reason = "for tests only, where a panic is a failure with a message")]
    pub async fn drop_database(&self, url: &str) {
        let path = url.split_once('?').map_or(url, |(path, _)| path);
        let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
        let statement = format!("DROP DATABASE {name} WITH (FORCE)");
        if let Err(error) = postgres::execute(&self.stack.database_url, &[&statement]).await {
            panic!("database {name} could not be dropped: {error}");
        }
    }

    /// Makes topics by their full names, the prefix included: see [`Scope::topics`].
    ///
    /// # Panics
    ///
    /// Where Kafka refuses.
    pub async fn create_topics(&self, topics: &[(&str, i32)]) {
        let topics: Vec<_> = topics
            .iter()
            .map(|&(name, partitions)| Topic { name: name.to_owned(), partitions, retention: None })
            .collect();
        self.create(&topics).await;
    }

    /// Makes the pipeline's three topics as the local stack has them.
    ///
    /// # Panics
    ///
    /// Where Kafka refuses.
    pub async fn create_pipeline_topics(&self) {
        self.create(&topics::of_the_pipeline(&self.topic_prefix)).await;
    }

    /// Deletes the pipeline's three topics.
    ///
    /// # Panics
    ///
    /// Where Kafka refuses.
    #[expect(clippy::panic, reason = "for tests only, where a panic is a failure with a message")]
    pub async fn delete_pipeline_topics(&self) {
        let made = topics::of_the_pipeline(&self.topic_prefix);
        let names: Vec<&str> = made.iter().map(|it| it.name.as_str()).collect();
        if let Err(error) = topics::delete(&self.stack.kafka_config(), &names).await {
            panic!("topics could not be deleted: {error:?}");
        }
    }

    #[expect(clippy::panic, reason = "for tests only, where a panic is a failure with a message")]
    async fn create(&self, topics: &[Topic]) {
        if let Err(error) = topics::create(&self.stack.kafka_config(), topics).await {
            panic!("topics could not be made: {error:?}");
        }
    }
}

/// The same url with another database.
fn with_database(url: &str, name: &str) -> String {
    let (base, query) =
        url.split_once('?').map_or((url, None), |(base, query)| (base, Some(query)));
    let after_scheme = base.find("://").map_or(0, |at| at + "://".len());
    let server = base[after_scheme..].find('/').map_or(base, |at| &base[..after_scheme + at]);
    match query {
        Some(query) => format!("{server}/{name}?{query}"),
        None => format!("{server}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_keeps_everything_but_its_database() {
        for (url, expected) in [
            ("postgres://ads@127.0.0.1:5/ads", "postgres://ads@127.0.0.1:5/t1"),
            ("postgres://ads@127.0.0.1:5", "postgres://ads@127.0.0.1:5/t1"),
            ("postgres://a:b@h/ads?sslmode=disable", "postgres://a:b@h/t1?sslmode=disable"),
        ] {
            assert_eq!(with_database(url, "t1"), expected);
        }
    }

    #[test]
    fn two_scopes_of_one_name_differ() {
        let stack = TestStack {
            kafka_brokers: String::new(),
            kafka_security: KafkaSecurity::default(),
            database_url: String::new(),
            redis_url: String::new(),
            redis_ca_file: None,
        };

        let (one, other) = (stack.scope("same"), stack.scope("same"));

        assert_ne!(one.topic_prefix, other.topic_prefix);
        assert_ne!(one.database, other.database);
    }
}
