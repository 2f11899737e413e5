//! The whole pipeline on servers that demand TLS and a login, each part with the least rights.

use e2e::{Counts, Pipeline, Program, SecuredStores, Service, click, password_of, until};
use proto_schemas::Kind;

/// Of each store in turn, what is wrong and what must be said of it.
struct Wrong {
    what: &'static str,
    program: Program,
    settings: Vec<(&'static str, String)>,
    /// Where the service cannot do without the store.
    not_ready: bool,
    said: &'static [&'static str],
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
    let url = pipeline.own_database_url();
    let (wrong_ca, wrong_password) = (stores.another_ca_file(), "hunter2".to_owned());
    let other_ca = |url: &str| {
        let (url, _) = url.rsplit_once('=').expect("sslrootcert");
        format!("{url}={wrong_ca}")
    };
    let other_password = |url: &str| url.replacen(&password_of(url), &wrong_password, 1);
    let away = "rediss://127.0.0.1:1".to_owned();

    for Wrong { what, program, settings, not_ready, said } in [
        Wrong {
            what: "the certificate of Kafka, to ingest",
            program: Program::Ingest,
            settings: vec![("KAFKA_CA_FILE", wrong_ca.clone())],
            not_ready: true,
            said: &["certificate verify failed", "KAFKA_CA_FILE must hold who signed"],
        },
        Wrong {
            what: "the password of Kafka, to ingest",
            program: Program::Ingest,
            settings: vec![("KAFKA_PASSWORD", wrong_password.clone())],
            not_ready: true,
            said: &["Authentication failed", "look at KAFKA_USERNAME, KAFKA_PASSWORD"],
        },
        Wrong {
            what: "the certificate of Kafka, to the consumer",
            program: Program::Consumer,
            settings: vec![("KAFKA_CA_FILE", wrong_ca.clone())],
            not_ready: true,
            said: &["certificate verify failed", "KAFKA_CA_FILE must hold who signed"],
        },
        Wrong {
            what: "the password of Kafka, to the consumer",
            program: Program::Consumer,
            settings: vec![("KAFKA_PASSWORD", wrong_password.clone())],
            not_ready: true,
            said: &["Authentication failed", "look at KAFKA_USERNAME, KAFKA_PASSWORD"],
        },
        Wrong {
            what: "the certificate of Postgres, to the consumer",
            program: Program::Consumer,
            settings: vec![("DATABASE_URL", other_ca(&url))],
            not_ready: true,
            said: &["invalid peer certificate", "sslrootcert in DATABASE_URL must hold"],
        },
        Wrong {
            what: "the password of Postgres, to the consumer",
            program: Program::Consumer,
            settings: vec![("DATABASE_URL", other_password(&url))],
            not_ready: true,
            said: &["password authentication failed", "look at user and password in DATABASE_URL"],
        },
        Wrong {
            what: "the certificate of Postgres, to analytics",
            program: Program::Analytics,
            settings: vec![("DATABASE_URL", other_ca(&url)), ("REDIS_URL", away.clone())],
            not_ready: true,
            said: &["invalid peer certificate", "sslrootcert in DATABASE_URL must hold"],
        },
        Wrong {
            what: "the password of Postgres, to analytics",
            program: Program::Analytics,
            settings: vec![("DATABASE_URL", other_password(&url)), ("REDIS_URL", away)],
            not_ready: true,
            said: &["password authentication failed", "look at user and password in DATABASE_URL"],
        },
    ] {
        let mut service = pipeline.spawn(program, &of(&settings));
        until(&format!("the log says what is wrong with {what}"), async || {
            let log = service.process().said();
            said.iter().all(|it| log.contains(it))
        })
        .await;
        if not_ready {
            until(&format!("/readyz says what is wrong with {what}"), async || {
                let reasons = service.reasons_not_ready().await;
                said.iter().all(|it| reasons.contains(it))
            })
            .await;
        }
        assert!(!service.has_ended(), "it goes on trying: {what}");
        nothing_secret_in(&service, &stores);
        assert!(!service.process().said().contains(&wrong_password), "{what}");
    }
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
