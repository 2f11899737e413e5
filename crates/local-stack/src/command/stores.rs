//! The stores of `run` and `up`: ours on fixed ports, or those that the user names.

use std::path::{Path, PathBuf};

use clap::Args;
use local_stack::kafka::Kafka;
use local_stack::postgres::Postgres;
use local_stack::redis::Redis;
use local_stack::stack::{Places, Stack};
use local_stack::{Place, Port, repository, topics};
use rdkafka::ClientConfig;
use service_kit::settings::{Env, Invalid};

use super::say;

/// Which stores to start, and where.
#[derive(Args, Clone, Debug)]
pub(crate) struct Stores {
    #[command(flatten)]
    given: Given,
    /// Port of the Kafka that is started
    #[arg(long, env = "LOCAL_KAFKA_PORT", value_name = "PORT", default_value_t = 19092)]
    kafka_port: u16,
    /// Port of the Postgres that is started
    #[arg(long, env = "LOCAL_POSTGRES_PORT", value_name = "PORT", default_value_t = 15432)]
    postgres_port: u16,
    /// Port of the Redis that is started
    #[arg(long, env = "LOCAL_REDIS_PORT", value_name = "PORT", default_value_t = 16379)]
    redis_port: u16,
    /// Put before the name of every topic
    #[arg(long, env = "TOPIC_PREFIX", default_value = "", hide_default_value = true)]
    topic_prefix: String,
    /// Where data and logs go [default: .local in the repository]
    #[arg(long, env = "LOCAL_STACK_FOLDER")]
    folder: Option<PathBuf>,
}

/// Stores that run already; each one that is not given is started.
#[derive(Args, Clone, Debug)]
pub(crate) struct Given {
    /// A Kafka that runs already
    #[arg(long, env = "KAFKA_BROKERS", value_name = "BROKERS", hide_env_values = true)]
    kafka_brokers: Option<String>,
    /// A Postgres that runs already
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database_url: Option<String>,
    /// A Redis that runs already
    #[arg(long, env = "REDIS_URL", value_name = "URL", hide_env_values = true)]
    redis_url: Option<String>,
}

/// Where all three are, whoever started them.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    pub(crate) kafka_brokers: String,
    pub(crate) database_url: String,
    pub(crate) redis_url: String,
}

impl Stores {
    /// The folder of data and logs.
    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.clone().unwrap_or_else(|| repository().join(".local"))
    }

    pub(crate) fn topic_prefix(&self) -> &str {
        &self.topic_prefix
    }

    /// Starts what is not given, and makes the topics.
    pub(crate) async fn start(&self) -> anyhow::Result<(Stack, Addresses)> {
        let folder = std::path::absolute(self.folder())?;
        let place = |name: &str, port| {
            let (data, log) = (folder.join("data").join(name), log(&folder, name));
            Some(Place::lasting(data, log, Port::Fixed(port)))
        };
        let places = Places {
            kafka: place("kafka", self.kafka_port),
            postgres: place("postgres", self.postgres_port),
            redis: place("redis", self.redis_port),
        };

        let stack = Stack::start(self.given.without(places)).await?;
        if let Some(postgres) = &stack.postgres
            && !postgres.data().starts_with(&folder)
        {
            let data = postgres.data().display();
            say::progress(&format!("Postgres cannot enter this folder, its data is in {data}"));
        }
        let addresses = self.given.addresses(&stack);
        topics::create(&addresses.kafka_config()?, &topics::of_the_pipeline(&self.topic_prefix))
            .await?;
        Ok((stack, addresses))
    }
}

impl Given {
    /// Leaves out what need not be started. A variable that is set to nothing counts as unset.
    pub(crate) fn without(&self, mut places: Places) -> Places {
        places.kafka.take_if(|_| given(self.kafka_brokers.as_ref()).is_some());
        places.postgres.take_if(|_| given(self.database_url.as_ref()).is_some());
        places.redis.take_if(|_| given(self.redis_url.as_ref()).is_some());
        places
    }

    /// Puts together what is given and what was started.
    pub(crate) fn addresses(&self, stack: &Stack) -> Addresses {
        let either = |given: Option<&String>, started: Option<String>| {
            given.cloned().or(started).unwrap_or_default()
        };
        Addresses {
            kafka_brokers: either(
                given(self.kafka_brokers.as_ref()),
                stack.kafka.as_ref().map(Kafka::brokers),
            ),
            database_url: either(
                given(self.database_url.as_ref()),
                stack.postgres.as_ref().map(Postgres::url),
            ),
            redis_url: either(given(self.redis_url.as_ref()), stack.redis.as_ref().map(Redis::url)),
        }
    }
}

impl Addresses {
    /// Begins the configuration of a client of Kafka, with TLS and login as the environment has them.
    pub(crate) fn kafka_config(&self) -> Result<ClientConfig, Invalid> {
        let security = Env::from_process().read()?;
        Ok(kafka_access::client_config_of(&self.kafka_brokers, &security))
    }

    /// The variables that name them to a service or a test.
    pub(crate) fn variables(&self) -> [(&'static str, String); 3] {
        [
            ("KAFKA_BROKERS", self.kafka_brokers.clone()),
            ("DATABASE_URL", self.database_url.clone()),
            ("REDIS_URL", self.redis_url.clone()),
        ]
    }
}

/// Where a store or a service logs.
pub(crate) fn log(folder: &Path, name: &str) -> PathBuf {
    folder.join("logs").join(format!("{name}.log"))
}

fn given(value: Option<&String>) -> Option<&String> {
    value.filter(|it| !it.is_empty())
}
