//! Limits that several processes share in Redis.

use std::time::{Duration, Instant};

use local_stack::{
    Place,
    redis::Redis,
    secured::{Authority, User},
    testing::{Scope, stack},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use reqwest::StatusCode;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

use crate::harness::{Answer, TestIngest, event_named};

/// So that a slow machine does not give an address another click while a test runs.
const SLOW_REFILL: (&str, &str) = ("RATE_LIMIT_PER_MINUTE", "1");

/// Longer than Redis takes on a machine that runs other tests.
const PATIENT: (&str, &str) = ("RATE_LIMIT_REDIS_BUDGET", "1s");

const SHARED: (&str, &str) = ("RATE_LIMIT_SHARED", "redis");

/// Two processes with a Redis of their own.
struct Pair {
    scope: Scope,
    redis: Redis,
}

impl Pair {
    async fn new(name: &str) -> Self {
        let place = Place::temporary().expect("a temporary folder");
        let redis = Redis::start(place).await.expect("redis starts");
        Self { scope: stack().scope(name), redis }
    }

    async fn start(&self, settings: &[(&str, &str)]) -> TestIngest {
        let (url, prefix) = (self.redis.url(), self.scope.redis_prefix.clone());
        let mut all = vec![SHARED, ("REDIS_URL", url.as_str()), ("REDIS_PREFIX", &prefix)];
        all.extend_from_slice(settings);
        let ingest = TestIngest::start(&self.scope, &all).await;
        // The first answers may come before the connection is there, and are then of the process
        // alone.
        ingest
            .until("sharing", async |it| {
                it.post("/ads/impression", &event_named("first"), &[]).await;
                outcomes(it, "answered").await > 0.0
            })
            .await;
        ingest
    }

    fn signal(&self, signal: Signal) {
        let pid = self.redis.pid().expect("it runs").cast_signed();
        kill(Pid::from_raw(pid), signal).expect("it is there");
    }

    /// Sends a command to Redis, and returns the lines of its answer.
    async fn redis(&self, command: &str, lines: usize) -> Vec<String> {
        let address = ("127.0.0.1", self.redis.port());
        let mut stream = BufReader::new(TcpStream::connect(address).await.expect("connected"));
        stream.write_all(format!("{command}\r\n").as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        for _ in 0..lines {
            let mut line = String::new();
            stream.read_line(&mut line).await.expect("a line");
            answer.push(line.trim_end().to_owned());
        }
        answer
    }
}

async fn outcomes(ingest: &TestIngest, outcome: &str) -> f64 {
    let series = format!("ingest_rate_limit_shared_total{{outcome=\"{outcome}\"}}");
    ingest.metric(&series).await
}

async fn click(ingest: &TestIngest, ad: u64, id: &str) -> Answer {
    let mut event = event_named(id);
    event["ad_id"] = ad.into();
    ingest.post_click(&event).await
}

#[tokio::test]
async fn an_address_has_one_allowance_at_all_processes_together() {
    let pair = Pair::new("together").await;
    let settings = [PATIENT, SLOW_REFILL, ("RATE_LIMIT_BURST", "4")];
    let (one, other) = (pair.start(&settings).await, pair.start(&settings).await);

    let mut passed = 0;
    for number in 0..6 {
        let ingest = if number % 2 == 0 { &one } else { &other };
        let answer = click(ingest, 7, &format!("e-{number}")).await;
        passed += u32::from(answer.status == StatusCode::OK);
        assert_eq!(answer.status == StatusCode::TOO_MANY_REQUESTS, number >= 4, "{number}");
    }

    assert_eq!(passed, 4, "of six, of which each process alone would have let three through");
    let limited = click(&one, 7, "e-7").await;
    assert!(limited.retry_after_secs().is_some_and(|wait| (1..=60).contains(&wait)));
    assert_eq!(limited.headers["ratelimit-policy"], r#""clicks";q=4;w=240"#);
    let left = limited.headers["ratelimit"].to_str().expect("text");
    assert!(left.starts_with(r#""clicks";r=0;t="#), "{left}");
    // Each limits by itself too, and would not ask again about what it knows to be too much.
    assert!(outcomes(&one, "answered").await >= 4.0);
}

#[tokio::test]
async fn both_layers_are_shared_in_one_call_and_a_batch_is_one_call_too() {
    let pair = Pair::new("layers").await;
    let settings = [
        PATIENT,
        SLOW_REFILL,
        ("RATE_LIMIT_PER_AD_PER_MINUTE", "1"),
        ("RATE_LIMIT_PER_AD_BURST", "2"),
    ];
    let (one, other) = (pair.start(&settings).await, pair.start(&settings).await);
    let asked = outcomes(&one, "answered").await;

    assert_eq!(click(&one, 7, "a").await.status, StatusCode::OK);
    assert_eq!(click(&other, 7, "b").await.status, StatusCode::OK);
    let limited = click(&one, 7, "c").await;
    assert_eq!(limited.status, StatusCode::TOO_MANY_REQUESTS, "{}", limited.body);
    assert_eq!(limited.body["error"].as_str().map(|it| it.contains("for this ad")), Some(true));
    assert_eq!(click(&one, 8, "d").await.status, StatusCode::OK);
    assert!(outcomes(&one, "answered").await.eq(&(asked + 3.0)));

    let mut batch = Vec::new();
    for (ad, id) in [(7, "e"), (8, "f"), (8, "g"), (9, "h")] {
        let mut event = event_named(id);
        event["ad_id"] = ad.into();
        event["type"] = "click".into();
        batch.push(event);
    }
    let answer = other.post("/ads/events", &batch.into(), &[]).await;
    let results = answer.body["results"].as_array().expect("results");
    let codes: Vec<_> = results.iter().map(|it| it["code"].as_str().expect("a code")).collect();
    assert_eq!(codes, ["rate_limited", "received", "rate_limited", "received"]);
}

#[tokio::test]
async fn a_redis_that_has_forgotten_the_script_is_told_it_again() {
    let pair = Pair::new("forgotten").await;
    let ingest = pair.start(&[PATIENT, SLOW_REFILL]).await;
    let failed = outcomes(&ingest, "failed").await;

    assert_eq!(pair.redis("SCRIPT FLUSH", 1).await, ["+OK"]);
    assert_eq!(click(&ingest, 7, "e").await.status, StatusCode::OK);

    assert!(outcomes(&ingest, "failed").await.eq(&failed));
}

#[tokio::test]
async fn what_redis_remembers_of_an_address_goes_by_itself() {
    let pair = Pair::new("expires").await;
    let settings = [PATIENT, ("RATE_LIMIT_PER_MINUTE", "6"), ("RATE_LIMIT_PER_AD_PER_MINUTE", "6")];
    let ingest = pair.start(&settings).await;

    assert_eq!(click(&ingest, 7, "e").await.status, StatusCode::OK);

    let prefix = &pair.scope.redis_prefix;
    for key in
        [format!("{prefix}:limit:click:127.0.0.1"), format!("{prefix}:limit:click:127.0.0.1:7")]
    {
        let ttl = pair.redis(&format!("PTTL {key}"), 1).await;
        let ttl: i64 = ttl[0].trim_start_matches(':').parse().expect("a number");
        assert!((1..=10_000).contains(&ttl), "{key} lives for {ttl} ms");
    }
}

#[tokio::test]
async fn where_addresses_are_not_kept_redis_learns_none() {
    let pair = Pair::new("pseudonyms").await;
    let secret = ("DEDUP_KEY_SECRET", "0123456789abcdef0123456789abcdef");
    let settings = [
        PATIENT,
        SLOW_REFILL,
        ("RATE_LIMIT_BURST", "2"),
        // So that its key, too, is there for a minute.
        ("IMPRESSION_RATE_LIMIT_PER_MINUTE", "1"),
        ("IP_PRIVACY", "none"),
        secret,
    ];
    let (one, other) = (pair.start(&settings).await, pair.start(&settings).await);

    assert_eq!(click(&one, 7, "a").await.status, StatusCode::OK);
    assert_eq!(click(&other, 7, "b").await.status, StatusCode::OK);
    assert_eq!(click(&one, 7, "c").await.status, StatusCode::TOO_MANY_REQUESTS);

    // A key for each kind of event of the one address.
    assert_eq!(pair.redis("DBSIZE", 1).await, [":2"]);
    assert_eq!(pair.redis("KEYS *127*0*0*1*", 1).await, ["*0"]);
}

#[tokio::test]
async fn a_redis_that_is_frozen_costs_a_few_waits_and_each_process_limits_by_itself() {
    let pair = Pair::new("frozen").await;
    let settings = [SLOW_REFILL, ("RATE_LIMIT_REDIS_BUDGET", "100ms")];
    let ingest = pair.start(&[PATIENT, SLOW_REFILL]).await;
    drop(ingest);
    let ingest = pair.start(&settings).await;

    pair.signal(Signal::SIGSTOP);
    let mut passed = 0;
    for number in 0..12 {
        let answer = click(&ingest, 7, &format!("e-{number}")).await;
        passed += u32::from(answer.status == StatusCode::OK);
    }

    assert_eq!(passed, 10, "the process's own limit holds");
    assert!(outcomes(&ingest, "slow").await >= 5.0);
    assert!(outcomes(&ingest, "skipped").await >= 1.0, "after five it is known");
    pair.signal(Signal::SIGCONT);
    ingest
        .until("sharing again", async |it| {
            let before = outcomes(it, "answered").await;
            it.post("/ads/impression", &event_named("again"), &[]).await;
            outcomes(it, "answered").await > before
        })
        .await;
}

#[tokio::test]
async fn without_redis_the_service_starts_and_answers_at_once() {
    let scope = stack().scope("absent");
    // Nobody listens there.
    let settings = [SHARED, SLOW_REFILL, ("REDIS_URL", "redis://127.0.0.1:1")];
    let ingest = TestIngest::start(&scope, &settings).await;

    let started = Instant::now();
    for number in 0..10 {
        let answer = click(&ingest, 7, &format!("e-{number}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    }
    assert_eq!(click(&ingest, 7, "e-10").await.status, StatusCode::TOO_MANY_REQUESTS);

    // Ten waits for Redis of 20 ms would be too little to measure beside Kafka's; what matters is that
    // nobody waits for connections.
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert!(outcomes(&ingest, "answered").await.eq(&0.0));
}

#[tokio::test]
async fn limits_are_shared_over_tls_by_a_user_who_may_do_nothing_else() {
    let scope = stack().scope("tlslimits");
    let authority = Authority::new().expect("an authority");
    let user = User::new("ingest", &ingest_api::redis_rules(&scope.redis_prefix));
    let demands = authority.demands([user.clone()]);
    let place = Place::temporary().expect("a temporary folder").demanding(demands);
    let redis = Redis::start(place).await.expect("redis starts");
    let as_admin = async |command: &str| {
        let output = tokio::process::Command::new("redis-cli")
            .args(["--no-auth-warning", "-u", &redis.url(), "--cacert"])
            .arg(authority.ca_file())
            .args(command.split(' '))
            .output();
        String::from_utf8(output.await.expect("redis-cli runs").stdout).expect("UTF-8")
    };
    assert_eq!(as_admin("CONFIG RESETSTAT").await.trim(), "OK");

    let (url, ca_file) = (redis.url_of(&user), authority.ca_file().display().to_string());
    let settings = [
        SHARED,
        PATIENT,
        ("REDIS_URL", url.as_str()),
        ("REDIS_CA_FILE", &ca_file),
        ("REDIS_PREFIX", &scope.redis_prefix),
    ];
    let ingest = TestIngest::start(&scope, &settings).await;
    ingest
        .until("sharing", async |it| {
            it.post("/ads/impression", &event_named("first"), &[]).await;
            outcomes(it, "answered").await > 0.0
        })
        .await;

    assert_eq!(as_admin("ACL LOG").await.trim(), "", "nothing was refused");
    let stats = as_admin("INFO commandstats").await;
    let rules = ingest_api::redis_rules("ads");
    for command in rules.split(' ').filter_map(|it| it.strip_prefix('+')) {
        let ran = stats.contains(&format!("cmdstat_{command}:calls="));
        assert!(ran, "it may run {command}, and does not\n{stats}");
    }
    let documents = include_str!("../../../docs/SECURITY.md");
    assert!(documents.contains(&format!("ads-ingest on >PASSWORD {rules}\n")), "{rules}");
}
