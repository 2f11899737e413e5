//! Each server on its own: it starts, it survives a kill with its data, and it says what is wrong.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use local_stack::kafka::Kafka;
use local_stack::postgres::Postgres;
use local_stack::redis::Redis;
use local_stack::topics::{self, Topic};
use local_stack::{Place, Port, StartError};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{FutureProducer, FutureRecord};
use service_kit::settings::groups::KafkaSecurity;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[tokio::test]
async fn kafka_keeps_its_records_when_killed_and_started_again() {
    let mut kafka = Kafka::start(Place::temporary().unwrap()).await.unwrap();
    let (brokers, first) = (kafka.brokers(), kafka.pid().unwrap());
    let topic = Topic { name: "kept".to_owned(), partitions: 1, retention: None };
    topics::create(&config(&brokers), std::slice::from_ref(&topic)).await.unwrap();
    send(&brokers, "kept").await;

    kafka.kill();
    assert!(!is_alive(first));
    kafka.restart().await.unwrap();

    assert_eq!(kafka.brokers(), brokers);
    // A topic that exists is left as it is.
    topics::create(&config(&brokers), &[topic]).await.unwrap();
    assert_eq!(end_offset(&brokers, "kept"), 1);
    send(&brokers, "kept").await;
    kafka.stop().await;
    assert_eq!(kafka.pid(), None);
}

#[tokio::test]
async fn postgres_keeps_its_rows_when_killed_and_started_again() {
    let mut postgres = Postgres::start(Place::temporary().unwrap()).await.unwrap();
    let first = postgres.pid().unwrap();
    query(&postgres.url(), "CREATE TABLE kept AS SELECT 7 AS n").await;

    postgres.kill();
    assert!(!is_alive(first));
    postgres.restart().await.unwrap();

    assert_eq!(query(&postgres.url(), "SELECT n FROM kept").await, ["7"]);
    assert_eq!(query(&postgres.url(), "SHOW server_encoding").await, ["UTF8"]);
    assert_eq!(query(&postgres.url(), "SELECT current_user").await, ["ads"]);
    postgres.stop().await;
    assert_eq!(postgres.pid(), None);
}

#[tokio::test]
async fn redis_comes_back_empty_on_the_same_port() {
    let mut redis = Redis::start(Place::temporary().unwrap()).await.unwrap();
    let url = redis.url();
    assert_eq!(ask(redis.port(), "SET a 1").await, "+OK");

    redis.kill();
    assert!(!redis.is_running());
    redis.restart().await.unwrap();

    assert_eq!(redis.url(), url);
    assert_eq!(ask(redis.port(), "GET a").await, "$-1");
    redis.stop().await;
}

#[tokio::test]
async fn a_dropped_server_is_gone_with_its_folder() {
    let redis = Redis::start(Place::temporary().unwrap()).await.unwrap();
    let (pid, log) = (redis.pid().unwrap(), redis.place().log().to_owned());
    assert!(log.exists());

    drop(redis);

    assert!(!is_alive(pid));
    assert!(!log.exists());
}

#[tokio::test]
async fn a_port_in_use_is_named_together_with_the_variable_that_changes_it() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let place = || Place::temporary().unwrap().with_port(Port::Fixed(port));

    for (variable, outcome) in [
        ("LOCAL_KAFKA_PORT", Kafka::start(place()).await.map(drop)),
        ("LOCAL_POSTGRES_PORT", Postgres::start(place()).await.map(drop)),
        ("LOCAL_REDIS_PORT", Redis::start(place()).await.map(drop)),
    ] {
        let said = outcome.unwrap_err().to_string();
        assert!(said.contains(&format!("port {port} ")) && said.contains(variable), "{said}");
    }
}

#[tokio::test]
async fn a_folder_serves_one_server_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let place = || Place::lasting(folder.path().join("r"), folder.path().join("r.log"), Port::Free);
    let first = Redis::start(place()).await.unwrap();

    let said = Redis::start(place()).await.unwrap_err().to_string();
    assert!(said.contains(&format!("process {}", std::process::id())), "{said}");

    drop(first);
    Redis::start(place()).await.unwrap();
}

#[tokio::test]
async fn a_lock_file_of_a_killed_postgres_is_no_obstacle() {
    let mut postgres = Postgres::start(Place::temporary().unwrap()).await.unwrap();
    let lock = postgres.data().join("postmaster.pid");
    let text = std::fs::read_to_string(&lock).unwrap();
    postgres.kill();
    // Its pid was given to another process of the same user since.
    let user = postgres.data().metadata().unwrap().uid();
    let mut other = Command::new("sleep").arg("600").current_dir("/").uid(user).spawn().unwrap();
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines[0] = other.id().to_string();
    std::fs::write(&lock, lines.join("\n")).unwrap();

    let outcome = postgres.restart().await;

    other.kill().unwrap();
    other.wait().unwrap();
    outcome.unwrap();
}

#[tokio::test]
async fn a_server_that_cannot_start_shows_the_end_of_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let (data, log) = (folder.path().join("kafka"), folder.path().join("kafka.log"));
    std::fs::create_dir_all(data.join("logs")).unwrap();
    // Looks formatted, but names no cluster.
    std::fs::write(data.join("logs/meta.properties"), "version=1\nnode.id=1\n").unwrap();

    let error = Kafka::start(Place::lasting(data, &log, Port::Free)).await.unwrap_err();

    assert!(matches!(error, StartError::Exited { .. }), "{error}");
    let said = error.to_string();
    assert!(said.contains(&log.display().to_string()) && said.contains("ERROR"), "{said}");
}

fn config(brokers: &str) -> ClientConfig {
    kafka_access::client_config_of(brokers, &KafkaSecurity::default())
}

async fn send(brokers: &str, topic: &str) {
    let producer: FutureProducer = config(brokers).create().expect("a client");
    let record = FutureRecord::<(), _>::to(topic).payload("x");
    producer.send(record, Duration::from_secs(30)).await.expect("acknowledged");
}

fn end_offset(brokers: &str, topic: &str) -> i64 {
    let consumer: BaseConsumer = config(brokers).create().expect("a client");
    consumer.fetch_watermarks(topic, 0, Duration::from_secs(30)).expect("watermarks").1
}

/// The first column of every row, as text.
async fn query(url: &str, statement: &str) -> Vec<String> {
    let (client, connection) =
        tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect("connected");
    let work = async move {
        let messages = client.simple_query(statement).await.expect("a result");
        messages
            .iter()
            .filter_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            })
            .collect()
    };
    tokio::join!(work, connection).0
}

/// The first line that Redis answers to a command.
async fn ask(port: u16, command: &str) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("connected");
    stream.write_all(format!("{command}\r\n").as_bytes()).await.expect("sent");
    let mut answer = [0; 128];
    let read = stream.read(&mut answer).await.expect("an answer");
    String::from_utf8_lossy(&answer[..read]).lines().next().unwrap_or_default().to_owned()
}

fn is_alive(pid: u32) -> bool {
    std::path::Path::new("/proc").join(pid.to_string()).exists()
}
