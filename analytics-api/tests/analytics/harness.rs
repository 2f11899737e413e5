//! Starts the service in this process and asks it.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use analytics_api::Config;
use reqwest::{StatusCode, header::HeaderMap};
use service_kit::settings::Env;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::stores::Stores;

/// Longer than anything takes here, and short enough to wait for in vain.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The service, running until it is dropped or stopped.
pub(crate) struct TestAnalytics {
    address: SocketAddr,
    admin_address: SocketAddr,
    http: reqwest::Client,
    shutdown: CancellationToken,
    running: JoinSet<anyhow::Result<()>>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    /// The body of a 200 that came from the store `source`.
    #[track_caller]
    pub(crate) fn from(self, source: &str) -> String {
        assert_eq!(self.status, StatusCode::OK, "{}", self.body);
        assert_eq!(self.headers["content-type"], "application/json");
        assert_eq!(self.source(), Some(source), "{}", self.body);
        self.body
    }

    pub(crate) fn source(&self) -> Option<&str> {
        self.headers.get("x-data-source").map(|it| it.to_str().unwrap())
    }

    /// Asserts that this is how the service says that no store can answer.
    #[track_caller]
    pub(crate) fn assert_unavailable(&self) {
        assert_eq!(self.status, StatusCode::SERVICE_UNAVAILABLE, "{}", self.body);
        assert_eq!(self.headers["retry-after"], "2");
        assert_eq!(self.source(), None);
        let sentence = "Neither Redis nor Postgres can answer right now; try again later.";
        assert_eq!(self.body, format!(r#"{{"error":"{sentence}","code":"unavailable"}}"#));
    }
}

impl TestAnalytics {
    /// Starts the service, which reads anew for each request, and waits until it is ready.
    ///
    /// Redis may take its time, so that a machine with much to do gives the same answers.
    pub(crate) async fn start(stores: &Stores) -> Self {
        Self::start_with(stores, &[]).await
    }

    pub(crate) async fn start_with(stores: &Stores, settings: &[(&str, &str)]) -> Self {
        let redis_url = stores.redis.url();
        let mut all = vec![
            ("DATABASE_URL", stores.database_url.as_str()),
            ("REDIS_URL", redis_url.as_str()),
            ("REDIS_PREFIX", stores.scope.redis_prefix.as_str()),
            ("ANALYTICS_MAX_AGE", "0s"),
            ("ANALYTICS_REDIS_BUDGET", "10s"),
            ("ANALYTICS_POSTGRES_TIMEOUT", "10s"),
        ];
        all.extend_from_slice(settings);
        let analytics = Self::start_unready(&all).await;
        analytics.until("ready", async |it| it.readyz().await.0 == StatusCode::OK).await;
        analytics
    }

    /// Starts the service with nothing but `settings`.
    pub(crate) async fn start_unready(settings: &[(&str, &str)]) -> Self {
        let anywhere =
            [("ANALYTICS_LISTEN", "127.0.0.1:0"), ("ANALYTICS_ADMIN_LISTEN", "127.0.0.1:0")];
        let env = Env::from_pairs(anywhere.iter().chain(settings).copied());
        let config: Config = env.read().unwrap();
        let server = analytics_api::bind(config).await.unwrap();
        let (address, admin_address) = (server.address().unwrap(), server.admin_address().unwrap());

        let shutdown = CancellationToken::new();
        let mut running = JoinSet::new();
        running.spawn(server.serve(shutdown.clone()));
        Self { address, admin_address, http: reqwest::Client::new(), shutdown, running }
    }

    pub(crate) async fn analytics(&self) -> Answer {
        self.get("/ads/analytics").await
    }

    pub(crate) async fn ads(&self) -> Answer {
        self.get("/ads").await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(reqwest::Method::GET, path).await
    }

    pub(crate) async fn send(&self, method: reqwest::Method, path: &str) -> Answer {
        let url = format!("http://{}{path}", self.address);
        let response = self.http.request(method, url).send().await.expect("an answer");
        let (status, headers) = (response.status(), response.headers().clone());
        Answer { status, headers, body: response.text().await.unwrap() }
    }

    /// Asks until the answer comes from the store `source`.
    pub(crate) async fn until_analytics_from(&self, source: &str) -> String {
        let start = Instant::now();
        loop {
            let answer = self.analytics().await;
            if answer.source() == Some(source) {
                return answer.from(source);
            }
            assert!(start.elapsed() < PATIENCE, "no answer from {source}, but {}", answer.body);
            sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn readyz(&self) -> (StatusCode, String) {
        self.admin("/readyz").await
    }

    pub(crate) async fn admin(&self, path: &str) -> (StatusCode, String) {
        let url = format!("http://{}{path}", self.admin_address);
        let response = self.http.get(url).send().await.expect("the admin port answers");
        (response.status(), response.text().await.unwrap())
    }

    /// The value of one series, such as `analytics_view_polls_total{outcome="ok"}`.
    pub(crate) async fn metric(&self, series: &str) -> u64 {
        self.value(series).await.parse().unwrap()
    }

    pub(crate) async fn view_age_seconds(&self) -> f64 {
        self.value("analytics_view_age_seconds").await.parse().unwrap()
    }

    async fn value(&self, series: &str) -> String {
        let (_, metrics) = self.admin("/metrics").await;
        let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.expect(series).to_owned()
    }

    /// How often `/ads/analytics` had to do without Redis for this reason.
    pub(crate) async fn fallbacks(&self, reason: &str) -> u64 {
        let name = "analytics_redis_fallbacks_total";
        self.metric(&format!(r#"{name}{{route="/ads/analytics",reason="{reason}"}}"#)).await
    }

    /// Waits until Postgres was asked for the view twice more: one question may be on its way.
    pub(crate) async fn until_polled_anew(&self) {
        let polls =
            async |it: &Self| it.metric(r#"analytics_view_polls_total{outcome="ok"}"#).await;
        let before = polls(self).await;
        self.until("polled", async |it| polls(it).await >= before + 2).await;
    }

    /// Waits until `condition` holds.
    pub(crate) async fn until(&self, what: &str, condition: impl AsyncFn(&Self) -> bool) {
        let start = Instant::now();
        while !condition(self).await {
            assert!(start.elapsed() < PATIENCE, "not {what} after {PATIENCE:?}");
            sleep(Duration::from_millis(20)).await;
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
}
