//! The whole pipeline on servers that demand TLS and a login, each part with the least rights.

use e2e::{Counts, Pipeline, Program, SecuredStores, Service, click, password_of, until};
use proto_schemas::Kind;

/// Something that a service is told wrongly, and what it must say of it.
struct Wrong {
    what: String,
    program: Program,
    settings: Vec<(&'static str, String)>,
    /// It can do without the store.
    stays_ready: bool,
    said: [&'static str; 2],
}

#[tokio::test]
async fn with_tls_logins_and_least_rights_every_click_is_counted() {
    let stores = SecuredStores::start().await;
    let pipeline = Box::pin(Pipeline::on("secured", stores.stack())).await;
    let parts = stores.parts_of(&pipeline).await;

    let (to_consume, to_answer) = (of(&parts.consumer), of(&parts.analytics));
    let (ingest, consumer, analytics) = tokio::join!(
        pipeline.start(Program::Ingest, &[]),
        pipeline.start(Program::Consumer, &to_consume),
        pipeline.start(Program::Analytics, &to_answer),
    );
    for number in 0..20 {
        let event = click(7, &format!("event-{number}"));
        let answer = pipeline.http.post(&ingest.url("/ads/click"), &event).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    let counts = pipeline.settle_with_api(&analytics).await;
    assert_eq!(counts, Counts::zero().with(Kind::Click, 7, 20));
    pipeline.until_api(&analytics, "redis", &counts).await;
    let audit = pipeline.adctl_with(&of(&parts.operator), &["audit"]);
    assert_eq!(audit.exit_code().await, 0);
    assert_eq!(stores.denied_by_redis().await, "");
    for service in [&ingest, &consumer, &analytics] {
        nothing_secret_in(service, &stores);
    }
}

#[tokio::test]
async fn who_is_refused_is_told_why_and_what_to_look_at() {
    let stores = SecuredStores::start().await;
    let pipeline = Box::pin(Pipeline::on("refused", stores.stack())).await;

    for wrong in every_wrong(&stores, &pipeline.own_database_url()) {
        let Wrong { what, program, settings, stays_ready, said } = wrong;
        let mut service = pipeline.spawn(program, &of(&settings));
        until(&format!("the log says what is wrong with {what}"), async || {
            let log = service.process().said();
            said.iter().all(|it| log.contains(it))
        })
        .await;
        if !stays_ready {
            until(&format!("/readyz says what is wrong with {what}"), async || {
                let reasons = service.reasons_not_ready().await;
                said.iter().all(|it| reasons.contains(it))
            })
            .await;
        }
        assert!(!service.has_ended(), "it goes on trying: {what}");
        nothing_secret_in(&service, &stores);
        assert!(!service.process().said().contains(WRONG_PASSWORD), "{what}");
    }
}

const WRONG_PASSWORD: &str = "hunter2";

/// For each store a certificate and a password that are wrong, to each who uses it.
fn every_wrong(stores: &SecuredStores, database_url: &str) -> Vec<Wrong> {
    use Program::{Analytics, Consumer, Ingest};

    let redis_url = stores.stack().redis_url;
    let ca = |setting| (setting, stores.another_ca_file());
    let password = |url: &str| url.replacen(&password_of(url), WRONG_PASSWORD, 1);
    let (database, _) = database_url.rsplit_once('=').expect("sslrootcert");
    let database_ca = ("DATABASE_URL", format!("{database}={}", stores.another_ca_file()));
    let database_password = ("DATABASE_URL", password(database_url));
    let kafka_password = ("KAFKA_PASSWORD", WRONG_PASSWORD.to_owned());
    let redis_password = ("REDIS_URL", password(&redis_url));
    let redis_is_away = ("REDIS_URL", "rediss://127.0.0.1:1".to_owned());
    let shared = ("RATE_LIMIT_SHARED", "redis".to_owned());

    let of_kafka = ["certificate verify failed", "KAFKA_CA_FILE must hold who signed"];
    let to_kafka = ["Authentication failed", "look at KAFKA_USERNAME, KAFKA_PASSWORD"];
    let of_postgres = ["invalid peer certificate", "sslrootcert in DATABASE_URL must hold"];
    let to_postgres =
        ["password authentication failed", "look at user and password in DATABASE_URL"];
    let of_redis = ["redis refuses the connection", "REDIS_CA_FILE must hold who signed"];
    let to_redis = ["redis refuses the connection", "look at user and password in REDIS_URL"];
    [
        ("Kafka's certificate", Ingest, vec![ca("KAFKA_CA_FILE")], of_kafka),
        ("Kafka's password", Ingest, vec![kafka_password.clone()], to_kafka),
        ("Kafka's certificate", Consumer, vec![ca("KAFKA_CA_FILE")], of_kafka),
        ("Kafka's password", Consumer, vec![kafka_password], to_kafka),
        ("Postgres's certificate", Consumer, vec![database_ca.clone()], of_postgres),
        ("Postgres's password", Consumer, vec![database_password.clone()], to_postgres),
        // With Redis it would be ready.
        (
            "Postgres's certificate",
            Analytics,
            vec![database_ca, redis_is_away.clone()],
            of_postgres,
        ),
        ("Postgres's password", Analytics, vec![database_password, redis_is_away], to_postgres),
        ("Redis's certificate", Analytics, vec![ca("REDIS_CA_FILE")], of_redis),
        ("Redis's password", Analytics, vec![redis_password.clone()], to_redis),
        ("Redis's certificate", Consumer, vec![ca("REDIS_CA_FILE")], of_redis),
        ("Redis's password", Consumer, vec![redis_password.clone()], to_redis),
        ("Redis's certificate", Ingest, vec![ca("REDIS_CA_FILE"), shared.clone()], of_redis),
        ("Redis's password", Ingest, vec![redis_password, shared], to_redis),
    ]
    .map(|(what, program, settings, said)| Wrong {
        what: format!("{what}, to {}", program.name()),
        program,
        settings,
        stays_ready: what.starts_with("Redis"),
        said,
    })
    .into()
}

#[tokio::test]
async fn a_safety_that_cannot_be_had_stops_the_service_at_its_start() {
    let pipeline = Pipeline::new("unsafe").await;
    let url = pipeline.own_database_url();
    for (settings, said) in [
        (vec![("DATABASE_URL", format!("{url}?sslmode=require"))], "DATABASE_URL has an sslmode"),
        (vec![("DATABASE_URL_FILE", "/nowhere".to_owned())], "DATABASE_URL_FILE are both set"),
        (vec![("KAFKA_SECURITY_PROTOCOL", "SASL_SSL".to_owned())], "KAFKA_PASSWORD: must be set"),
        (vec![("REDIS_CA_FILE", "/nowhere".to_owned())], "REDIS_CA_FILE: \"/nowhere\" cannot be"),
    ] {
        let mut service = pipeline.spawn(Program::Consumer, &of(&settings));

        assert_ne!(service.exit_code().await, 0);
        let log = service.process().said();
        assert!(log.contains(said), "{said} is not in {log}");
    }
}

fn of<'a>(settings: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    settings.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

#[track_caller]
fn nothing_secret_in(service: &Service, stores: &SecuredStores) {
    let log = service.process().said();
    for secret in stores.secrets() {
        assert!(!log.contains(&secret), "a secret in {}", service.process().log().display());
    }
}
