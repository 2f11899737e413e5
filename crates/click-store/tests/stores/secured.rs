//! Servers that demand TLS and a password: what the right ones get, and what the wrong ones are told.

use std::{path::Path, time::Duration};

use click_store::{Redis, RedisLimits, StoreError, migrations, pool};
use local_stack::{
    Place,
    postgres::Postgres,
    redis::Redis as RedisServer,
    secured::{Authority, User},
};

#[tokio::test]
async fn postgres_is_believed_by_its_certificate_and_believes_a_password() {
    let authority = Authority::new().unwrap();
    let postgres = Postgres::start(demanding(&authority, &["127.0.0.1"])).await.unwrap();
    let url = postgres.url();
    migrations::migrate(&url.as_str().into()).await.unwrap();

    let connection = pool(&url.as_str().into(), "tests", 1).unwrap().get().await.unwrap();
    let of_us = "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let row = connection.query_one(of_us, &[]).await.unwrap();
    assert_eq!((row.get::<_, bool>(0), row.get(1)), (true, "TLSv1.3"));

    let (server, _) = url.split_once('?').unwrap();
    let other = Authority::new().unwrap();
    let mut wrong = url.clone();
    wrong.replace_range(url.rfind('=').unwrap() + 1.., &other.ca_file().display().to_string());
    let secret = server.split([':', '@']).nth(2).unwrap();
    for (url, said) in [
        (wrong, "invalid peer certificate: UnknownIssuer; sslrootcert in DATABASE_URL must hold"),
        (url.replacen(secret, "hunter2", 1), "look at user and password in DATABASE_URL"),
        (server.to_owned(), "the server wants TLS: add sslmode=verify-full to DATABASE_URL"),
        (url.replacen("127.0.0.1", "localhost", 1), "the certificate must name the host"),
    ] {
        let error = click_store::connect(&url.as_str().into(), "tests").await.unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
        let pooled = pool(&url.as_str().into(), "tests", 1).unwrap().get().await.unwrap_err();
        let pooled = StoreError::from(pooled).to_string();
        assert!(pooled.contains(said), "{pooled}");
        for secret in [secret, "hunter2"] {
            assert!(!format!("{error:?} {error} {pooled}").contains(secret), "{error:?} {pooled}");
        }
    }
}

#[tokio::test]
async fn a_postgres_that_offers_no_tls_is_not_talked_to_where_it_is_asked_for() {
    let url = local_stack::testing::stack().database_url + "?sslmode=verify-full";

    let error = click_store::connect(&url.into(), "tests").await.unwrap_err().to_string();

    assert!(error.contains("server does not support TLS; DATABASE_URL asks for"), "{error}");
}

#[tokio::test]
async fn redis_is_believed_by_its_certificate_and_believes_a_password() {
    let authority = Authority::new().unwrap();
    let user = User::new("me", "~* +@all");
    let demands = authority.demands([user.clone()]);
    let folder = local_stack::place::temporary_folder().unwrap();
    let data = folder.path().join("redis");
    let place = Place::throwaway(&data, folder.path().join("log")).demanding(demands);
    let mut redis = RedisServer::start(place).await.unwrap();
    let client = connect(&redis.url_of(&user), &authority, Duration::from_secs(30));

    client.ping().await.unwrap();
    let before = certificate(&data);
    redis.restart().await.unwrap();
    // Another certificate of the same authority needs nobody's attention.
    assert_ne!(certificate(&data), before);
    client.ping().await.unwrap();

    let other = Authority::new().unwrap();
    let url = redis.url_of(&user);
    for (url, authority) in [
        (url.clone(), &other),
        (url.replacen(&user.password, "hunter2", 1), &authority),
        (url.replacen("rediss", "redis", 1), &authority),
    ] {
        let error = connect(&url, authority, Duration::from_secs(1)).ping().await.unwrap_err();
        let error = format!("{error:?} {error}");
        assert!(!error.contains("hunter2") && !error.contains(&user.password), "{error}");
    }
}

fn demanding(authority: &Authority, hosts: &[&str]) -> Place {
    Place::temporary().unwrap().demanding(authority.demands_as(hosts, []))
}

fn connect(url: &str, authority: &Authority, command: Duration) -> Redis {
    let ca_file = authority.ca_file();
    Redis::connect(&url.into(), Some(&ca_file), "tests", RedisLimits { command }).unwrap()
}

fn certificate(data: &Path) -> Vec<u8> {
    std::fs::read(data.join("server.crt")).unwrap()
}
