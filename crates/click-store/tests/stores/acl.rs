//! Redis with users that may do what their role needs: all of it works, and none of it is for nothing.

use std::time::Duration;

use click_store::{
    ActiveAdsCache, Projection, Redis, RedisLimits, TopicPartition,
    projection::{Advance, Advanced, Mark},
    roles::Role,
    totals::{CountedPartition, PartitionTotals, View},
};
use fred::{
    clients::Client,
    cmd,
    interfaces::ClientLike,
    types::{
        Builder, Value,
        config::{Config, TlsConnector},
    },
};
use local_stack::{
    Place,
    redis::Redis as Server,
    secured::{Authority, User},
};
use proto_schemas::Kind;
use uuid::Uuid;

use crate::harness::ad_id;

const PREFIX: &str = "mine";
const EPOCH: Uuid = Uuid::from_u128(7);

#[tokio::test]
async fn each_role_may_run_in_redis_what_it_runs_and_nothing_else() {
    let redis = Secured::start().await;
    let consumer = Projection::new(redis.connect(Role::Consumer));
    let at = TopicPartition::new("ad-clicks", 0);
    let totals = PartitionTotals { epoch: EPOCH, next_offset: 5, events: vec![(ad_id(1), 5)] };

    // What the consumer does: look, write anew, add.
    assert_eq!(consumer.peek(&at).await.unwrap(), None);
    assert!(consumer.replace(&at, None, &totals).await.unwrap());
    let batch = Advance {
        at: at.clone(),
        epoch: EPOCH,
        expected: 5,
        new: 8,
        increments: vec![(ad_id(1), 3)],
    };
    assert_eq!(consumer.advance(&batch).await.unwrap(), Advanced::Applied);
    redis.ran_exactly_what_it_may(Role::Consumer).await;

    // What analytics does: read all totals, keep the lists of ads.
    let client = redis.connect(Role::Analytics);
    client.ping().await.unwrap();
    let partition = CountedPartition { at: at.clone(), kind: Kind::Click };
    let view = View { epoch: EPOCH, partitions: vec![partition], ads: vec![ad_id(1)] };
    let snapshot = Projection::new(client.clone()).snapshot(&view).await.unwrap().unwrap();
    assert_eq!(snapshot.ads[&ad_id(1)].clicks, 8);
    let cache = ActiveAdsCache::new(client);
    cache.put("rendered").await.unwrap();
    assert_eq!(cache.get_kept().await.unwrap().as_deref(), Some("rendered"));
    redis.ran_exactly_what_it_may(Role::Analytics).await;

    // What adctl does: audit, rebuild, make everybody forget the list of ads.
    let client = redis.connect(Role::Operator);
    client.ping().await.unwrap();
    let operator = Projection::new(client.clone());
    assert_eq!(operator.totals_of(&at).await.unwrap().unwrap().next_offset, 8);
    let seen = operator.peek(&at).await.unwrap();
    assert_eq!(seen, Some(Mark { epoch: EPOCH, offset: 8 }));
    assert!(operator.replace(&at, seen, &totals).await.unwrap());
    ActiveAdsCache::new(client).clear().await.unwrap();
    redis.ran_exactly_what_it_may(Role::Operator).await;
}

#[tokio::test]
async fn no_role_may_touch_what_is_not_its_own() {
    let redis = Secured::start().await;
    for (role, command) in [
        (Role::Analytics, "HSET mine:totals:ad-clicks:0 1 1000"),
        (Role::Analytics, "SET mine:totals:ad-clicks:0 1000"),
        (Role::Analytics, "DEL mine:active-ads"),
        (Role::Consumer, "SET mine:active-ads []"),
        (Role::Consumer, "HSET another:totals:ad-clicks:0 1 1000"),
        (Role::Consumer, "FLUSHALL"),
        (Role::Consumer, "KEYS *"),
        (Role::Operator, "GET another"),
        (Role::Operator, "CONFIG GET *"),
    ] {
        let user = redis.user(role);
        let client = redis.raw(&redis.server.url_of(&user)).await;

        let refused = run(&client, command).await.expect_err(command);

        assert!(refused.details().starts_with("NOPERM"), "{command}: {refused}");
    }
}

#[test]
fn what_the_documents_say_of_redis_is_what_the_roles_may() {
    let text = include_str!("../../../../docs/SECURITY.md");
    for (name, role) in [
        ("ads-consumer", Role::Consumer),
        ("ads-analytics", Role::Analytics),
        ("ads-operator", Role::Operator),
    ] {
        let line = format!("ACL SETUSER {name} on >PASSWORD {}", role.redis_rules("ads"));
        assert!(text.contains(&line), "docs/SECURITY.md lacks: {line}");
    }
}

/// A Redis that demands TLS and a login, with a user for each role.
struct Secured {
    server: Server,
    authority: Authority,
    users: Vec<(Role, User)>,
    admin: Client,
}

impl Secured {
    async fn start() -> Self {
        let authority = Authority::new().unwrap();
        let users: Vec<_> = Role::ALL
            .iter()
            .map(|&role| (role, User::new(&format!("{role:?}"), &role.redis_rules(PREFIX))))
            .collect();
        let demands = authority.demands(users.iter().map(|(_, user)| user.clone()));
        let server = Server::start(Place::temporary().unwrap().demanding(demands)).await.unwrap();
        let admin = raw(&authority, &server.url()).await;
        run(&admin, "CONFIG RESETSTAT").await.unwrap();
        Self { server, authority, users, admin }
    }

    fn user(&self, role: Role) -> User {
        self.users.iter().find(|it| it.0 == role).unwrap().1.clone()
    }

    fn connect(&self, role: Role) -> Redis {
        let url = self.server.url_of(&self.user(role)).into();
        let limits = RedisLimits { command: Duration::from_secs(30) };
        Redis::connect(&url, Some(&self.authority.ca_file()), PREFIX, limits).unwrap()
    }

    async fn raw(&self, url: &str) -> Client {
        raw(&self.authority, url).await
    }

    /// Checks that nothing was refused, and that every command that the role may run was run since
    /// this was last asked.
    async fn ran_exactly_what_it_may(&self, role: Role) {
        assert_eq!(run(&self.admin, "ACL LOG").await.unwrap(), Value::Array(vec![]), "{role:?}");
        let stats = run(&self.admin, "INFO commandstats").await.unwrap().as_string().unwrap();
        let rules = role.redis_rules(PREFIX);
        let may = rules.split([' ', '(', ')']).filter_map(|it| it.strip_prefix('+'));
        for command in may {
            let ran = stats.contains(&format!("cmdstat_{command}:calls="));
            assert!(ran, "{role:?} may run {command}, and does not\n{stats}");
        }
        // The next one begins as the first one did.
        run(&self.admin, "SCRIPT FLUSH").await.unwrap();
        run(&self.admin, "CONFIG RESETSTAT").await.unwrap();
    }
}

async fn raw(authority: &Authority, url: &str) -> Client {
    let mut config = Config::from_url(&url.replacen("rediss", "redis", 1)).unwrap();
    config.tls = Some(tls(authority).into());
    let client = Builder::from_config(config).build().unwrap();
    client.init().await.unwrap();
    client
}

fn tls(authority: &Authority) -> TlsConnector {
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};

    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.ca_file()).unwrap()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
        .into()
}

async fn run(client: &Client, command: &str) -> Result<Value, fred::error::Error> {
    let mut words = command.split(' ').map(str::to_owned);
    let name = words.next().unwrap();
    client.custom(cmd!(name), words.collect()).await
}
