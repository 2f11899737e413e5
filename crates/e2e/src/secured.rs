//! Servers of a test's own that demand TLS and a login, and the parts of the pipeline as who may do
//! least.

use click_store::roles::Role;
use local_stack::{
    Place,
    kafka::Kafka,
    postgres::Postgres,
    redis::Redis,
    secured::{Authority, User},
    testing::TestStack,
};

use crate::pipeline::Pipeline;

/// Kafka, Postgres and Redis that let in only who speaks TLS and logs in.
#[derive(Debug)]
pub struct SecuredStores {
    kafka: Kafka,
    postgres: Postgres,
    redis: Redis,
    authority: Authority,
    /// Nobody trusts it.
    other: Authority,
    /// Of Kafka: the one whom all parts are.
    user: User,
}

/// The settings by which each part is who it should be.
#[derive(Debug)]
pub struct Parts {
    pub consumer: Vec<(&'static str, String)>,
    pub analytics: Vec<(&'static str, String)>,
    pub operator: Vec<(&'static str, String)>,
}

impl SecuredStores {
    pub async fn start() -> Self {
        let authority = Authority::new().expect("an authority");
        let user = User::new("pipeline", "");
        let place = |users: Vec<User>| {
            Place::temporary().expect("a temporary folder").demanding(authority.demands(users))
        };
        let (kafka, postgres, redis) = tokio::join!(
            Kafka::start(place(vec![user.clone()])),
            Postgres::start(place(vec![])),
            Redis::start(place(vec![])),
        );
        Self {
            kafka: kafka.expect("kafka starts"),
            postgres: postgres.expect("postgres starts"),
            redis: redis.expect("redis starts"),
            other: Authority::new().expect("another authority"),
            authority,
            user,
        }
    }

    /// The servers as one may use them who may do everything in Postgres and Redis.
    pub fn stack(&self) -> TestStack {
        TestStack {
            kafka_brokers: self.kafka.brokers(),
            kafka_security: self.kafka.security(Some(&self.user)),
            database_url: self.postgres.url(),
            redis_url: self.redis.url(),
            redis_ca_file: Some(self.authority.ca_file()),
        }
    }

    /// Makes a user for each part, as `docs/SECURITY.md` says, and returns the settings to be it.
    pub async fn parts_of(&self, pipeline: &Pipeline) -> Parts {
        let database = pipeline.own_database_url();
        let names =
            ["--consumer", "consumer", "--analytics", "analytics", "--operator", "operator"];
        let grant = pipeline.adctl(&[&["roles"], &names[..]].concat());
        assert_eq!(grant.exit_code().await, 0);

        let mut parts = Vec::new();
        for role in Role::ALL {
            let name = format!("{role:?}").to_ascii_lowercase();
            let user = User::new(&name, &role.redis_rules(&pipeline.scope.redis_prefix));
            let password = &user.password;
            let statement = format!("ALTER ROLE {name} PASSWORD '{password}'");
            pipeline.execute(&statement).await;
            self.redis_admin(&format!("ACL SETUSER {name} on >{password} {}", user.rules)).await;
            parts.push(vec![
                ("DATABASE_URL", as_user(&database, &name, password)),
                ("REDIS_URL", self.redis.url_of(&user)),
                ("MIGRATE_ON_START", "false".to_owned()),
            ]);
        }
        let [consumer, analytics, operator] = parts.try_into().expect("three roles");
        Parts { consumer, analytics, operator }
    }

    /// A file of an authority that has signed nothing here.
    pub fn another_ca_file(&self) -> String {
        self.other.ca_file().display().to_string()
    }

    /// What Redis has refused to those who were logged in.
    pub async fn denied_by_redis(&self) -> String {
        self.redis_admin("ACL LOG").await
    }

    /// The passwords of who may do everything, which no log may hold.
    pub fn secrets(&self) -> [String; 3] {
        let stack = self.stack();
        [
            password_of(&stack.database_url),
            password_of(&stack.redis_url),
            self.user.password.clone(),
        ]
    }

    async fn redis_admin(&self, command: &str) -> String {
        let output = tokio::process::Command::new("redis-cli")
            .args(["--no-auth-warning", "-u", &self.redis.url(), "--cacert"])
            .arg(self.authority.ca_file())
            .args(command.split(' '))
            .output()
            .await
            .expect("redis-cli runs");
        let said = String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned();
        assert!(output.status.success() && !said.starts_with("ERR"), "{command}: {said}");
        said
    }
}

/// The password in a URL.
pub fn password_of(url: &str) -> String {
    url.split([':', '@']).nth(2).expect("a password").to_owned()
}

/// The same URL for somebody else.
fn as_user(url: &str, name: &str, password: &str) -> String {
    let (_, server) = url.split_once('@').expect("a user");
    format!("postgres://{name}:{password}@{server}")
}
