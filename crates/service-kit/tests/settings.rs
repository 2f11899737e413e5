//! Settings, as an operator meets them.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use service_kit::settings::{
    Bytes, Cidrs, Env, Settings, Value, Vars, describe, groups, help_text,
};

#[derive(Debug)]
struct Config {
    kafka: groups::Kafka,
    listen: SocketAddr,
    timeout: Duration,
    limit: NonZeroU32,
    password: Option<SecretString>,
    proxies: Cidrs,
}

impl Settings for Config {
    fn read(vars: &mut Vars) -> Self {
        let config = Self {
            kafka: groups::Kafka::read(vars),
            listen: vars.or("LISTEN", "0.0.0.0:8080", "Where to serve"),
            timeout: vars.or("TIMEOUT", "500ms", "How long to wait"),
            limit: vars.or("LIMIT", "10", "How many a minute"),
            password: vars.optional("PASSWORD", "What opens the door | or not"),
            proxies: vars.or("PROXIES", "", "Whom to believe"),
        };
        vars.check("TIMEOUT", config.timeout < Duration::from_secs(2), "must be below 2s");
        config
    }
}

fn problems(pairs: &[(&str, &str)]) -> Vec<String> {
    let env = Env::from_pairs(pairs.iter().copied());
    let invalid = env.read::<Config>().expect_err("problems");
    invalid.to_string().lines().map(str::to_owned).collect()
}

#[test]
fn what_is_not_set_has_its_default() {
    let env = Env::from_pairs([("KAFKA_BROKERS", "a:1,b:2")]);

    let config: Config = env.read().expect("settings");

    assert_eq!(config.kafka.brokers, "a:1,b:2");
    assert_eq!(config.kafka.topic_prefix, "");
    assert_eq!(config.listen, SocketAddr::from(([0, 0, 0, 0], 8080)));
    assert_eq!(config.timeout, Duration::from_millis(500));
    assert_eq!(config.limit.get(), 10);
    assert!(config.password.is_none());
    assert!(config.proxies.is_empty());
}

#[test]
fn every_problem_is_reported_at_once() {
    let problems = problems(&[
        ("LISTEN", "8080"),
        ("TIMEOUT", "500"),
        ("LIMIT", "0"),
        ("PROXIES", "10.0.0.0/8,home"),
        ("TOPIC_PREFIX", "a/b"),
    ]);

    assert_eq!(
        problems,
        [
            "KAFKA_BROKERS: is required, for example 127.0.0.1:19092",
            "TOPIC_PREFIX: must hold only letters, digits, dots, underscores and hyphens",
            r#"LISTEN: "8080" is not an address with a port, such as 0.0.0.0:8080"#,
            r#"TIMEOUT: "500" is not a duration with its unit, such as 500ms, 30s or 7d"#,
            r#"LIMIT: "0" is not a whole number of 1 or more"#,
            r#"PROXIES: "10.0.0.0/8,home" has "home", which is no network such as 10.0.0.0/8"#,
        ]
    );
}

#[test]
fn a_check_over_several_settings_is_a_problem_like_any_other() {
    let problems = problems(&[("KAFKA_BROKERS", "a:1"), ("TIMEOUT", "3s")]);

    assert_eq!(problems, ["TIMEOUT: must be below 2s"]);
}

#[test]
fn a_variable_that_is_set_to_nothing_counts_as_unset() {
    let env = Env::from_pairs([("KAFKA_BROKERS", "a:1"), ("TIMEOUT", ""), ("PASSWORD", "")]);

    let config: Config = env.read().expect("settings");

    assert_eq!(config.timeout, Duration::from_millis(500));
    assert!(config.password.is_none());
}

#[test]
fn a_secret_is_shown_nowhere() {
    let env = Env::from_pairs([("KAFKA_BROKERS", "a:1"), ("PASSWORD", "hunter2")]);
    let config: Config = env.read().expect("settings");
    assert_eq!(config.password.as_ref().expect("a password").expose_secret(), "hunter2");

    assert!(!format!("{config:?}").contains("hunter2"));
    assert!(!format!("{env:?}").contains("hunter2"));

    let env = Env::from_pairs([("DATABASE_URL", "mysql://root:hunter2@host")]);
    let invalid = env.read::<groups::Postgres>().expect_err("another scheme");
    assert_eq!(invalid.to_string(), "DATABASE_URL: must be a postgres:// URL");
}

#[test]
fn a_secret_may_stand_in_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let read = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter().chain(&[("KAFKA_BROKERS", "a:1")]).copied();
        let read = Env::from_pairs(pairs).read::<Config>();
        read.map(|it| it.password.map(|it| it.expose_secret().to_owned()))
            .map_err(|it| it.to_string())
    };
    let secret = file("secret", " hunter2 \r\n");

    let found = read(&[("PASSWORD_FILE", &secret)]).expect("read");
    assert_eq!(found.as_deref(), Some(" hunter2 "), "only the end of the line goes");

    let both = read(&[("PASSWORD_FILE", &secret), ("PASSWORD", "hunter3")]);
    assert_eq!(both, Err("PASSWORD: and PASSWORD_FILE are both set: take one away".to_owned()));

    for (path, reason) in [
        (folder.path().join("none").display().to_string(), "cannot be read: No such file"),
        (file("empty", "\n"), "is empty"),
        (file("long", &"x".repeat(70_000)), "is longer than 65536 bytes"),
    ] {
        let refused = read(&[("PASSWORD_FILE", &path)]).expect_err("no secret");
        let expected = format!("PASSWORD: (PASSWORD_FILE={path}) {reason}");
        assert!(refused.starts_with(&expected), "{refused}");
    }
}

#[test]
fn a_required_secret_in_a_file_is_not_missing() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "postgres://ads:hunter2@db/ads\n").expect("written");
    let env = Env::from_pairs([("DATABASE_URL_FILE", file.path().to_str().expect("UTF-8"))]);

    let read: groups::Postgres = env.read().expect("settings");

    assert_eq!(read.url.expose_secret(), "postgres://ads:hunter2@db/ads");
}

#[test]
fn a_safety_that_would_not_be_used_is_refused() {
    let ca = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(ca.path(), "-----BEGIN CERTIFICATE-----").expect("written");
    let ca = ca.path().to_str().expect("UTF-8");
    let sasl = [("KAFKA_USERNAME", "ads"), ("KAFKA_PASSWORD", "hunter2")];
    for (pairs, problems) in [
        (vec![("KAFKA_CA_FILE", ca)], "KAFKA_CA_FILE"),
        (sasl.to_vec(), "KAFKA_USERNAME KAFKA_PASSWORD"),
        (vec![("KAFKA_SECURITY_PROTOCOL", "SASL_SSL")], "KAFKA_USERNAME KAFKA_PASSWORD"),
        (vec![("KAFKA_SECURITY_PROTOCOL", "TLS")], "KAFKA_SECURITY_PROTOCOL"),
        (
            [("KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT"), ("KAFKA_SASL_MECHANISM", "PLAIN")]
                .into_iter()
                .chain(sasl)
                .collect(),
            "KAFKA_SASL_MECHANISM",
        ),
    ] {
        let invalid = Env::from_pairs(pairs).read::<groups::KafkaSecurity>().expect_err(problems);

        let names: Vec<_> = invalid.problems().iter().map(|it| it.name).collect();
        assert_eq!(names.join(" "), problems, "{invalid}");
        assert!(!invalid.to_string().contains("hunter2"), "{invalid}");
    }

    let redis = Env::from_pairs([("REDIS_URL", "redis://a"), ("REDIS_CA_FILE", ca)]);
    assert!(redis.read::<groups::Redis>().is_err());
    let redis = Env::from_pairs([("REDIS_URL", "rediss://a"), ("REDIS_CA_FILE", ca)]);
    assert!(redis.read::<groups::Redis>().is_ok());
}

#[test]
fn a_file_of_authorities_must_hold_one() {
    for (path, reason) in [("/nowhere", "cannot be read"), ("/etc/passwd", "holds no certificate")]
    {
        let env = Env::from_pairs([("REDIS_URL", "rediss://a"), ("REDIS_CA_FILE", path)]);

        let invalid = env.read::<groups::Redis>().expect_err(reason).to_string();

        assert!(invalid.starts_with(&format!("REDIS_CA_FILE: {path:?} {reason}")), "{invalid}");
    }
}

#[test]
fn the_help_lists_each_setting_with_its_default_and_meaning() {
    let help = help_text::<Config>("door", "Opens doors.");

    assert!(help.starts_with("Opens doors.\n\nUsage: door "), "{help}");
    assert!(help.contains("KAFKA_BROKERS  (required, for example 127.0.0.1:19092)\n"), "{help}");
    assert!(help.contains("TIMEOUT  (default: 500ms)\n      How long to wait\n"), "{help}");
    let password = "PASSWORD, or in the file that PASSWORD_FILE names  (default: unset)\n";
    assert!(help.contains(password), "{help}");
    assert!(help.contains("PROXIES  (default: empty)\n"), "{help}");
}

#[test]
fn the_shared_groups_can_be_described() {
    let names: Vec<_> = [
        describe::<groups::Kafka>(),
        describe::<groups::Postgres>(),
        describe::<groups::Redis>(),
        describe::<groups::EventAge>(),
        describe::<groups::Logs>(),
        describe::<groups::PublicShutdown>(),
    ]
    .concat()
    .into_iter()
    .map(|setting| setting.name)
    .collect();

    assert_eq!(
        names,
        [
            "KAFKA_BROKERS",
            "KAFKA_SECURITY_PROTOCOL",
            "KAFKA_CA_FILE",
            "KAFKA_SASL_MECHANISM",
            "KAFKA_USERNAME",
            "KAFKA_PASSWORD",
            "TOPIC_PREFIX",
            "DATABASE_URL",
            "REDIS_URL",
            "REDIS_CA_FILE",
            "REDIS_PREFIX",
            "MAX_EVENT_AGE",
            "MAX_EVENT_AHEAD",
            "LOG_FORMAT",
            "LOG_LEVEL",
            "SHUTDOWN_DELAY",
            "SHUTDOWN_TIMEOUT",
        ]
    );
}

#[test]
fn a_setting_read_by_two_groups_is_listed_once() {
    struct Both;
    impl Settings for Both {
        fn read(vars: &mut Vars) -> Self {
            groups::EventAge::read(vars);
            groups::max_event_age(vars);
            Self
        }
    }

    assert_eq!(describe::<Both>(), describe::<groups::EventAge>());
}

#[test]
fn sizes_and_durations_carry_their_unit() {
    assert_eq!(Bytes::parse("4096B"), Ok(Bytes(4096)));
    assert_eq!(Bytes::parse("256KiB"), Ok(Bytes(256 * 1024)));
    assert_eq!(Bytes::parse("1.5MB"), Ok(Bytes(1_500_000)));
    assert!(Bytes::parse("4096").is_err());
    assert!(Bytes::parse("B").is_err());

    assert_eq!(Duration::parse("7d"), Ok(Duration::from_hours(7 * 24)));
    assert_eq!(Duration::parse("1m 30s"), Ok(Duration::from_secs(90)));
    assert!(Duration::parse("10y").is_ok());
    assert!(Duration::parse("7").is_err());
    assert!(Duration::parse("-7s").is_err());
}

#[test]
fn networks_hold_bare_addresses_and_mapped_ones() {
    let networks = Cidrs::parse("10.0.0.0/8, 192.0.2.7,2001:db8::/32,").expect("networks");
    let holds = |text: &str| networks.contains(text.parse::<IpAddr>().expect("an address"));

    assert!(holds("10.255.0.1"));
    assert!(holds("::ffff:10.255.0.1"));
    assert!(holds("192.0.2.7"));
    assert!(!holds("192.0.2.8"));
    assert!(holds("2001:db8::1"));
    assert!(!holds("::1"));
}
