//! Tests of the gate without Redis.

use prometheus_client::{encoding::text::encode, registry::Registry};
use service_kit::settings::Env;

use super::*;

struct Test {
    limits: RateLimits,
    registry: Registry,
}

impl Test {
    fn new<const N: usize>(settings: [(&str, &str); N]) -> Self {
        let config = Env::from_pairs(settings).read().expect("settings are valid");
        let mut registry = Registry::default();
        let metrics = LimitMetrics::register(&mut registry);
        let limits = RateLimits::new(config, None, metrics).expect("no redis");
        Self { limits, registry }
    }

    /// Lets a request with one event through, as a route does.
    async fn post(&self, client: Client, kind: Kind, ad: u64) -> Result<Standing, Exceeded> {
        let mut gate = self.limits.gate(client);
        gate.enter(kind)?;
        gate.admit_one(kind, self::ad(ad)).await?;
        Ok(gate.standing())
    }

    /// How many of ten clicks of one address for one ad are let through.
    async fn of_ten(&self, address: &str) -> usize {
        let mut passed = 0;
        for _ in 0..10 {
            passed += usize::from(self.post(client(address), Kind::Click, 1).await.is_ok());
        }
        passed
    }

    fn exceeded(&self, layer: &str, mode: &str) -> u64 {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("text");
        let series = format!(
            "ingest_rate_limit_exceeded_total{{kind=\"click\",layer=\"{layer}\",mode=\"{mode}\"}} "
        );
        let value = text.lines().find_map(|line| line.strip_prefix(&series));
        value.expect("a series").parse().expect("a number")
    }
}

fn client(address: &str) -> Client {
    Client { address: address.parse().expect("an address"), trusted: false }
}

fn ad(id: u64) -> AdId {
    AdId::new(id).expect("an id")
}

#[tokio::test]
async fn an_address_has_its_burst_whatever_the_ad_and_others_have_theirs() {
    let test = Test::new([("RATE_LIMIT_BURST", "3"), ("RATE_LIMIT_PER_MINUTE", "1")]);
    let one = client("192.0.2.1");

    for ad in 1..=3 {
        assert!(test.post(one, Kind::Click, ad).await.is_ok());
    }
    let exceeded = test.post(one, Kind::Click, 4).await.expect_err("over the limit");

    assert_eq!(exceeded.layer, Layer::Address);
    assert!((1..=60).contains(&exceeded.retry_after.as_secs()), "{:?}", exceeded.retry_after);
    assert!(test.post(client("192.0.2.2"), Kind::Click, 1).await.is_ok());
    assert!(test.post(one, Kind::Impression, 1).await.is_ok(), "a limit of its own");
    assert_eq!((test.limits.keys(Kind::Click), test.limits.keys(Kind::Impression)), (2, 1));
    assert_eq!(test.exceeded("address", "enforce"), 1);
}

#[tokio::test]
async fn one_ad_can_have_less_than_all_together() {
    let test = Test::new([
        ("RATE_LIMIT_BURST", "10"),
        ("RATE_LIMIT_PER_MINUTE", "1"),
        ("RATE_LIMIT_PER_AD_PER_MINUTE", "1"),
        ("RATE_LIMIT_PER_AD_BURST", "2"),
    ]);
    let one = client("192.0.2.1");

    assert!(test.post(one, Kind::Click, 1).await.is_ok());
    assert!(test.post(one, Kind::Click, 1).await.is_ok());
    let exceeded = test.post(one, Kind::Click, 1).await.expect_err("too often the same");
    assert_eq!(exceeded.layer, Layer::Ad);
    assert!(test.post(one, Kind::Click, 2).await.is_ok());
    assert!(test.post(client("192.0.2.2"), Kind::Click, 1).await.is_ok());
    assert_eq!(test.exceeded("ad", "enforce"), 1);
}

#[tokio::test]
async fn what_is_observed_is_counted_and_let_through() {
    let test = Test::new([
        ("RATE_LIMIT_MODE", "observe"),
        ("RATE_LIMIT_BURST", "3"),
        ("RATE_LIMIT_PER_MINUTE", "1"),
    ]);

    assert_eq!(test.of_ten("192.0.2.1").await, 10);

    assert_eq!((test.exceeded("address", "observe"), test.exceeded("address", "enforce")), (7, 0));
    let standing = test.post(client("192.0.2.1"), Kind::Click, 1).await.expect("let through");
    assert_eq!(standing, Standing::default(), "nobody is told of a limit that is none");
}

#[tokio::test]
async fn off_measures_nothing() {
    let test = Test::new([("RATE_LIMIT_MODE", "off"), ("RATE_LIMIT_BURST", "1")]);

    assert_eq!(test.of_ten("192.0.2.1").await, 10);

    assert_eq!((test.limits.keys(Kind::Click), test.exceeded("address", "observe")), (0, 0));
}

#[tokio::test]
async fn a_network_can_have_more_or_less_or_no_limit() {
    let test = Test::new([
        ("RATE_LIMIT_BURST", "2"),
        ("RATE_LIMIT_PER_MINUTE", "1"),
        ("RATE_LIMIT_PER_AD_PER_MINUTE", "1"),
        ("RATE_LIMIT_OVERRIDES", "10.0.0.0/8=5/5,10.9.0.0/16=1/1,2001:db8::/32=off"),
    ]);

    assert_eq!(test.of_ten("192.0.2.1").await, 1, "one for each ad");
    assert_eq!(test.of_ten("10.1.1.1").await, 5, "behind it are many");
    assert_eq!(test.of_ten("10.9.1.1").await, 1);
    assert_eq!(test.of_ten("2001:db8::1").await, 10);
    assert_eq!(test.of_ten("::ffff:10.1.1.2").await, 5);
}

#[tokio::test]
async fn a_trusted_sender_has_no_limit() {
    let test = Test::new([("RATE_LIMIT_BURST", "1")]);
    let sender = Client { trusted: true, ..client("192.0.2.1") };

    for _ in 0..10 {
        assert!(test.post(sender, Kind::Click, 1).await.is_ok());
    }

    assert_eq!(test.limits.keys(Kind::Click), 0);
}

#[tokio::test]
async fn of_a_batch_as_many_pass_as_there_are_left_and_each_event_is_told() {
    let test = Test::new([
        ("RATE_LIMIT_BURST", "4"),
        ("RATE_LIMIT_PER_MINUTE", "1"),
        ("RATE_LIMIT_PER_AD_PER_MINUTE", "1"),
        ("RATE_LIMIT_PER_AD_BURST", "2"),
        ("IMPRESSION_RATE_LIMIT_BURST", "1"),
        ("IMPRESSION_RATE_LIMIT_PER_MINUTE", "1"),
    ]);
    let (click, impression) = (Kind::Click, Kind::Impression);
    let events = [(click, 1), (click, 1), (click, 1), (impression, 1), (click, 2), (click, 3)];
    let events = events.map(|(kind, id)| (kind, ad(id)));

    let mut gate = test.limits.gate(client("192.0.2.1"));
    gate.enter(impression).expect("there is one left");
    let fates = gate.admit(&events).await;

    let over: Vec<_> = fates.iter().map(|it| it.as_ref().err().map(|it| it.layer)).collect();
    let (ad, address) = (Some(Layer::Ad), Some(Layer::Address));
    assert_eq!(over, [None, None, ad, None, None, address]);
}

#[tokio::test]
async fn what_turns_out_to_be_no_event_costs_one_all_the_same() {
    let test = Test::new([("RATE_LIMIT_BURST", "3"), ("RATE_LIMIT_PER_MINUTE", "1")]);

    let mut gate = test.limits.gate(client("192.0.2.1"));
    gate.enter(Kind::Click).expect("the first");
    gate.charge(Kind::Click);
    gate.charge(Kind::Click);
    gate.charge(Kind::Click);

    assert!(test.limits.gate(client("192.0.2.1")).enter(Kind::Click).is_err());
}

#[test]
fn every_bad_setting_is_named() {
    let bad = [
        ("RATE_LIMIT_MODE", "on"),
        ("RATE_LIMIT_BURST", "200000000"),
        ("RATE_LIMIT_PER_AD_BURST", "3"),
        ("IMPRESSION_RATE_LIMIT_BURST", "0"),
        ("RATE_LIMIT_OVERRIDES", "10.0.0.0/8=fast"),
        ("RATE_LIMIT_MAX_KEYS", "200000000"),
        ("RATE_LIMIT_SHARED", "redis"),
        ("RATE_LIMIT_REDIS_BUDGET", "1m"),
    ];

    let problems = Env::from_pairs(bad).read::<RateLimitConfig>().expect_err("all wrong");

    let named: Vec<_> = problems.problems().iter().map(|it| it.name).collect();
    for (name, _) in bad {
        let name = if name == "RATE_LIMIT_SHARED" { "REDIS_URL" } else { name };
        assert!(named.contains(&name), "{name} is not in {problems}");
    }
}

#[test]
fn redis_is_needed_only_where_limits_are_shared() {
    let config: RateLimitConfig =
        Env::from_pairs([("REDIS_PREFIX", "p")]).read().expect("no redis is needed");
    assert!(config.shared.is_none());

    let shared = [("RATE_LIMIT_SHARED", "redis"), ("REDIS_URL", "redis://127.0.0.1:1")];
    let config: RateLimitConfig = Env::from_pairs(shared).read().expect("valid");
    assert_eq!(config.shared.expect("shared").budget, Duration::from_millis(20));
}
