//! What a real Prometheus sees: every question of every panel and rule while all is well, and what
//! fires when Kafka, Postgres or Redis is stopped.

use std::{collections::BTreeSet, net::Ipv4Addr};

use e2e::{
    Client, Load, Pipeline, Services, Watch, Watcher, click, kafka, monitoring, postgres,
    prometheus::Sample, redis, until, until_equal, until_within,
};
use local_stack::testing::{TestStack, stack};
use serde_json::json;

/// What panels ask over, as Grafana fills it in.
const RATE_INTERVAL: (&str, &str) = ("$__rate_interval", "30s");

/// Questions without an answer while all is well, and why.
const WITHOUT_ANSWER: [(&str, &str); 1] =
    [("ingest_spool_sync_duration_seconds", "Kafka is there, so nothing is written to the spool")];

/// Series that are not there while all is well, and why.
const WITHOUT_SERIES: [(&str, &str); 1] = [("ALERTS{alertstate=\"firing\"}", "no alert fires")];

#[tokio::test]
async fn every_panel_and_rule_has_its_data_while_the_pipeline_runs_under_load() {
    let pipeline = Pipeline::new("watched").await;
    let services = pipeline.start_all().await;
    let watcher = Watcher::start(&services).await;
    let load = Load::start(&services.ingest.url("/ads/click"), 2);
    let reader = Watch::start(&services.analytics.url("/ads/analytics"));

    let rules = watcher.rules().await;
    let names = |alerts| rules.iter().filter(move |it| it.is_alert == alerts).map(|it| &it.name);
    let alerts: BTreeSet<_> = names(true).cloned().collect();
    assert_eq!(alerts, monitoring::alerts());
    assert!(names(false).count() > 0);
    let panels = monitoring::questions_of_panels();
    let mut questions: Vec<_> = panels
        .into_iter()
        .map(|it| (it.place, it.expression.replace(RATE_INTERVAL.0, RATE_INTERVAL.1)))
        .collect();
    let recorded = rules.iter().filter(|it| !it.is_alert);
    questions.extend(recorded.map(|it| (it.name.clone(), it.expression.clone())));
    // An alert that has no answer is one that does not fire; but it must ask for what is there.
    let asked = rules.iter().map(|it| &it.expression).chain(questions.iter().map(|it| &it.1));
    let selectors = asked.flat_map(|it| monitoring::selectors(it));
    let mut selectors: BTreeSet<_> = selectors.collect();
    selectors.retain(|it| WITHOUT_SERIES.iter().all(|(without, _)| it != without));

    let mut waiting = questions.len() + selectors.len();
    until_within(2 * e2e::LIMIT, "every question has an answer", async || {
        some_refusals(&services).await;
        let mut unanswered = Vec::new();
        for (place, question) in &questions {
            let answer = watcher.ask(question).await;
            let excused = WITHOUT_ANSWER.iter().any(|(without, _)| question.contains(without));
            if !excused && !answer.iter().any(|it| !it.value.is_nan()) {
                unanswered.push(format!("{place}: {question}"));
            }
        }
        for selector in &selectors {
            if watcher.ask(&format!("count({selector})")).await.is_empty() {
                unanswered.push(format!("no series of {selector}"));
            }
        }
        if unanswered.len() < waiting {
            waiting = unanswered.len();
            tell(&(waiting, &unanswered[..waiting.min(5)]));
        }
        unanswered.is_empty()
    })
    .await;

    for rule in watcher.rules().await {
        assert_eq!(rule.error, "", "{}", rule.name);
    }
    let targets = watcher.ask("up == 1").await;
    assert_eq!(targets.len(), 3, "{targets:?}");
    reader.stop().await;
    assert!(!load.stop().await.accepted().is_empty());
}

/// Requests that are refused, each in its way, and a click that dies.
async fn some_refusals(services: &Services) {
    let url = services.ingest.url("/ads/click");
    let stranger = Client::at(Ipv4Addr::new(127, 0, 0, 9));
    for number in 0..12 {
        stranger.post(&url, &click(1, &format!("stranger-{number}"))).await;
    }
    stranger.post(&services.ingest.url("/ads/impression"), &json!({ "ad_id": 1 })).await;
    let mut of_nobody = click(1, "of-nobody");
    of_nobody["ad_id"] = json!(987_654_321);
    Client::new().post(&url, &of_nobody).await;
    Client::new().get(&services.analytics.url("/ads")).await;
}

#[tokio::test]
async fn a_kafka_that_is_stopped_shows_in_the_alerts() {
    let (mut kafka, proxy) = kafka::start().await;
    let pipeline = Pipeline::on("watchedkafka", kafka::stack_with(&proxy)).await;
    let trial = Trial::start(&pipeline).await;

    kafka.stop().await;

    trial
        .until_firing(&[
            "DependencyDown kafka click-consumer",
            "DependencyDown kafka ingest-api",
            "ErrorBudgetBurnsFast events_kept",
            "EventsNotKept failed",
        ])
        .await;
    trial.note(
        "kafka",
        &[
            "sum by (outcome) (rate(ingest_events_total[30s])) > 0",
            "histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket{route=\"/ads/click\"}[30s])))",
            "sum(ingest_producer_queue_events)",
            "sum(consumer_lag_events)",
            "sum by (source) (rate(analytics_answers_total[30s])) > 0",
        ],
    )
    .await;

    kafka.restart().await.expect("kafka starts again");
    trial.until_dependencies_answer().await;
    trial.stop().await;
}

#[tokio::test]
async fn a_postgres_that_is_stopped_shows_in_the_alerts() {
    let mut postgres = postgres::start().await;
    let stack = TestStack { database_url: postgres.url(), ..stack() };
    let pipeline = Pipeline::on("watchedpostgres", stack).await;
    let trial = Trial::start(&pipeline).await;

    postgres.stop().await;

    trial
        .until_firing(&[
            "CountingRetried postgres_connection",
            "CountingStuck click-consumer",
            "DependencyDown postgres analytics-api",
            "DependencyDown postgres click-consumer",
            "LagGrowing",
        ])
        .await;
    trial
        .note(
            "postgres",
            &[
                "sum by (outcome) (rate(ingest_events_total[30s])) > 0",
                "sum(consumer_lag_events)",
                "max(consumer_batch_age_seconds)",
                "sum by (reason) (increase(consumer_retries_total[1m])) > 0",
                "sum by (source) (rate(analytics_answers_total[30s])) > 0",
                "sum by (status) (rate(http_requests_total{job=\"analytics-api\"}[30s])) > 0",
            ],
        )
        .await;

    postgres.restart().await.expect("postgres starts again");
    trial.until_dependencies_answer().await;
    trial.stop().await;
}

#[tokio::test]
async fn a_redis_that_is_stopped_shows_in_the_alerts() {
    let mut redis = redis::start().await;
    let pipeline = Pipeline::with_redis("watchedredis", &redis.url()).await;
    let trial = Trial::start(&pipeline).await;

    redis.stop().await;

    trial
        .until_firing(&["DependencyDown redis click-consumer", "RedisFallback", "RedisNotTold"])
        .await;
    trial.note(
        "redis",
        &[
            "sum by (outcome) (rate(ingest_events_total[30s])) > 0",
            "sum by (outcome) (rate(consumer_records_total[30s])) > 0",
            "sum(consumer_lag_events)",
            "sum by (source) (rate(analytics_answers_total[30s])) > 0",
            "sum by (reason) (rate(analytics_redis_fallbacks_total{route=\"/ads/analytics\"}[30s])) > 0",
            "sum by (outcome) (rate(consumer_projection_updates_total[30s])) > 0",
            "analytics_redis_breaker_state == 1",
        ],
    )
    .await;

    redis.restart().await.expect("redis starts again");
    trial.until_dependencies_answer().await;
    trial.stop().await;
}

/// A pipeline under load, watched by a Prometheus whose alerts hardly wait.
struct Trial<'a> {
    pipeline: &'a Pipeline,
    watcher: Watcher,
    load: Load,
    reader: Watch,
    _services: Services,
}

impl<'a> Trial<'a> {
    /// Returns when all is well and nothing fires.
    async fn start(pipeline: &'a Pipeline) -> Self {
        /// An outage that lasts for seconds, at a hundred clicks a second, must be enough.
        const THRESHOLDS: [(&str, &str); 3] = [
            ("consumer_batch_age_seconds) > 60", "consumer_batch_age_seconds) > 5"),
            ("sum(consumer_lag_events) > 10000", "sum(consumer_lag_events) > 500"),
            ("sum(consumer_lag_events offset 5m)", "sum(consumer_lag_events offset 5s)"),
        ];
        let services = pipeline.start_all().await;
        let rules = pipeline.artefact("rules");
        let watcher = Watcher::impatient(&services, rules, &THRESHOLDS).await;
        let load = Load::start(&services.ingest.url("/ads/click"), 2);
        let reader = Watch::start(&services.analytics.url("/ads/analytics"));
        let trial = Self { pipeline, watcher, load, reader, _services: services };
        trial.until_dependencies_answer().await;
        until("clicks are seen to be counted", async || {
            let rate = "sum(rate(consumer_visible_delay_seconds_count[30s])) > 10";
            !trial.watcher.ask(rate).await.is_empty()
        })
        .await;
        // A scrape may have come before a service listened.
        until_equal("nothing fires", &BTreeSet::new(), async || trial.watcher.firing().await).await;
        trial
    }

    /// Waits until all of these fire, and says which do.
    async fn until_firing(&self, expected: &[&str]) {
        let mut seen = BTreeSet::new();
        until(&format!("{expected:?} fire"), async || {
            let firing = self.watcher.firing().await;
            if firing != seen {
                seen = firing;
                tell(&seen);
            }
            expected.iter().all(|it| seen.contains(*it))
        })
        .await;
        // Nothing leads elsewhere: an outage of one store is not blamed on another.
        let about = expected.iter().filter_map(|it| it.strip_prefix("DependencyDown "));
        let about: BTreeSet<_> = about.map(|it| it.split(' ').next()).collect();
        let blamed = seen.iter().filter_map(|it| it.strip_prefix("DependencyDown "));
        let blamed: BTreeSet<_> = blamed.map(|it| it.split(' ').next()).collect();
        assert_eq!(blamed, about, "{seen:?}");
    }

    /// Writes down what an operator would have seen, beside the logs.
    async fn note(&self, name: &str, questions: &[&str]) {
        let mut note = vec![format!("{:?}", self.watcher.firing().await)];
        for question in questions {
            let answers = self.watcher.ask(question).await;
            note.push(format!("> {question}"));
            note.extend(answers.iter().map(|it| format!("  {:?} {:.3}", it.labels, it.value)));
        }
        std::fs::write(self.pipeline.artefact(&format!("{name}.txt")), note.join("\n"))
            .expect("written");
    }

    async fn until_dependencies_answer(&self) {
        until("everything answers", async || {
            let up = self.watcher.ask("dependency_up").await;
            up.len() == 5 && up.iter().all(|it: &Sample| it.value > 0.0)
        })
        .await;
    }

    async fn stop(self) {
        self.reader.stop().await;
        self.load.stop().await;
    }
}

#[expect(clippy::print_stderr, reason = "shown by the test runner beside a failure")]
fn tell(what: &impl std::fmt::Debug) {
    eprintln!("{what:?}");
}
