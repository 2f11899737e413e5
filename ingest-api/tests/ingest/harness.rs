//! Starts the service in this process, posts to it, and reads what it puts on Kafka.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use ingest_api::Config;
use local_stack::testing::Scope;
use proto_schemas::{AdEvent, Kind, Timestamp, Topics, headers};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{Consumer as _, StreamConsumer},
    message::{Headers as _, OwnedMessage},
};
use reqwest::{StatusCode, header};
use serde_json::{Value, json};
use service_kit::settings::Env;
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

/// Longer than anything takes here, and short enough to wait for in vain.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The service, running until it is dropped or stopped.
pub(crate) struct TestIngest {
    pub(crate) address: SocketAddr,
    admin_address: SocketAddr,
    http: reqwest::Client,
    shutdown: CancellationToken,
    running: JoinSet<anyhow::Result<()>>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: header::HeaderMap,
    pub(crate) body: Value,
}

impl TestIngest {
    /// Starts the service on topics of its own, and waits until it is ready.
    pub(crate) async fn start(scope: &Scope, settings: &[(&str, &str)]) -> Self {
        scope.create_pipeline_topics().await;
        let mut all = vec![
            ("KAFKA_BROKERS", scope.stack.kafka_brokers.as_str()),
            ("TOPIC_PREFIX", scope.topic_prefix.as_str()),
        ];
        all.extend_from_slice(settings);
        let ingest = Self::start_unready(&all).await;
        ingest.until("ready", async |it| it.readyz().await.0 == StatusCode::OK).await;
        ingest
    }

    /// Starts the service with nothing but `settings`.
    pub(crate) async fn start_unready(settings: &[(&str, &str)]) -> Self {
        let server = ingest_api::bind(config(settings)).await.expect("the service is bound");
        let (address, admin_address) =
            (server.address().expect("bound"), server.admin_address().expect("bound"));

        let shutdown = CancellationToken::new();
        let mut running = JoinSet::new();
        running.spawn(server.serve(shutdown.clone()));
        Self { address, admin_address, http: client_at(Ipv4Addr::LOCALHOST), shutdown, running }
    }

    pub(crate) async fn post_click(&self, body: &Value) -> Answer {
        self.post("/ads/click", body, &[]).await
    }

    /// Posts JSON with more headers.
    pub(crate) async fn post(&self, path: &str, body: &Value, headers: &[(&str, &str)]) -> Answer {
        self.post_as(&self.http, path, body, headers).await
    }

    /// Posts JSON as another client.
    pub(crate) async fn post_as(
        &self,
        http: &reqwest::Client,
        path: &str,
        body: &Value,
        headers: &[(&str, &str)],
    ) -> Answer {
        let request = headers.iter().fold(http.post(self.url(path)), |request, (name, value)| {
            request.header(*name, *value)
        });
        answer(request.json(body)).await
    }

    /// A request that is yet to be made.
    pub(crate) fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, self.url(path))
    }

    pub(crate) async fn readyz(&self) -> (StatusCode, String) {
        self.admin("/readyz").await
    }

    pub(crate) async fn metrics(&self) -> String {
        self.admin("/metrics").await.1
    }

    /// The value of one series, such as `ingest_events_total{kind="click",outcome="received"}`.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let metrics = self.metrics().await;
        let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.expect(series).parse().expect("a number")
    }

    /// Waits until `condition` holds.
    pub(crate) async fn until(&self, what: &str, condition: impl AsyncFn(&Self) -> bool) {
        let start = Instant::now();
        while !condition(self).await {
            assert!(start.elapsed() < PATIENCE, "not {what} after {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks the service to stop, as SIGTERM does.
    pub(crate) fn begin_shutdown(&self) {
        self.shutdown.cancel();
    }

    /// Waits until the service has stopped.
    pub(crate) async fn stopped(mut self) -> anyhow::Result<()> {
        let ended = timeout(PATIENCE, self.running.join_next()).await.expect("it stops in time");
        ended.expect("it was running").expect("it did not panic")
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn admin(&self, path: &str) -> (StatusCode, String) {
        let url = format!("http://{}{path}", self.admin_address);
        let response = self.http.get(url).send().await.expect("the admin port answers");
        (response.status(), response.text().await.expect("a text"))
    }
}

/// Settings on ports of its own, without protection from overload.
pub(crate) fn config(settings: &[(&str, &str)]) -> Config {
    let usual = [
        ("INGEST_LISTEN", "127.0.0.1:0"),
        ("INGEST_ADMIN_LISTEN", "127.0.0.1:0"),
        // The test's own tasks run in the same threads, and would be taken for overload.
        ("INGEST_OVERLOAD_DELAY", "0s"),
    ];
    let env = Env::from_pairs(usual.iter().chain(settings).copied());
    env.read().expect("settings are valid")
}

/// Sends a request and reads its answer, which is JSON.
pub(crate) async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.expect("an answer");
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.text().await.expect("a text");
    let body = serde_json::from_str(&body).expect(&body);
    Answer { status, headers, body }
}

impl Answer {
    pub(crate) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    pub(crate) fn retry_after_secs(&self) -> Option<u64> {
        self.headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()
    }
}

/// A client with an address of its own: everything in 127.0.0.0/8 is this machine.
pub(crate) fn client_at(address: Ipv4Addr) -> reqwest::Client {
    let builder = reqwest::Client::builder().local_address(Some(address.into()));
    builder.timeout(PATIENCE).build().expect("a client")
}

/// A valid event of this moment.
pub(crate) fn event() -> Value {
    let now = headers::rfc3339(Timestamp::now());
    json!({ "ad_id": 7, "timestamp": now, "playback_time": 12.5, "event_id": "e-1" })
}

/// A valid event that no other has the id of.
pub(crate) fn event_named(id: &str) -> Value {
    let mut event = event();
    event["event_id"] = id.into();
    event
}

/// Reads a whole topic, until it has `count` records.
pub(crate) async fn records(scope: &Scope, kind: Kind, count: usize) -> Vec<OwnedMessage> {
    let consumer = reader(scope, kind);
    let mut records = Vec::new();
    while records.len() < count {
        records.push(next(&consumer).await);
    }
    records
}

/// Reads a whole topic, until it has every one of `ids` at least once, and returns the first record
/// of each event.
pub(crate) async fn first_records(
    scope: &Scope,
    kind: Kind,
    ids: &BTreeSet<String>,
) -> Vec<OwnedMessage> {
    let consumer = reader(scope, kind);
    let (mut missing, mut seen, mut records) = (ids.clone(), BTreeSet::new(), Vec::new());
    while !missing.is_empty() {
        let record = next(&consumer).await;
        let id = decoded(&record).dedup_key.to_string();
        missing.remove(&id);
        if seen.insert(id) {
            records.push(record);
        }
    }
    records
}

async fn next(consumer: &StreamConsumer) -> OwnedMessage {
    let record = timeout(PATIENCE, consumer.recv()).await.expect("a record in time");
    record.expect("a record").detach()
}

fn reader(scope: &Scope, kind: Kind) -> StreamConsumer {
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", &scope.stack.kafka_brokers)
        .set("group.id", &scope.consumer_group)
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    let topics = Topics::new(&scope.topic_prefix);
    let mut partitions = TopicPartitionList::new();
    for partition in 0..proto_schemas::topics::PARTITIONS {
        let added = partitions.add_partition_offset(topics.of(kind), partition, Offset::Beginning);
        added.expect("a partition");
    }
    consumer.assign(&partitions).expect("assigned");
    consumer
}

/// The event in a record.
pub(crate) fn decoded(record: &OwnedMessage) -> AdEvent {
    AdEvent::decode(record.payload().expect("a value")).expect("an event")
}

/// A record's header as text.
pub(crate) fn record_header(record: &OwnedMessage, name: &str) -> Option<String> {
    let header = record.headers()?.iter().find(|header| header.key == name)?;
    header.value.map(|value| String::from_utf8_lossy(value).into_owned())
}
