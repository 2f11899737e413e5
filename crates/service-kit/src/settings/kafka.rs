//! Where Kafka is, and how its brokers want to be talked to.

use secrecy::SecretString;

use super::{CaFile, Settings, Value, Vars};

/// Where Kafka is.
#[derive(Clone, Debug)]
pub struct Kafka {
    /// `KAFKA_BROKERS`: comma-separated `host:port` list. Required.
    pub brokers: String,
    /// `KAFKA_SECURITY_PROTOCOL` and its kin: neither TLS nor a login by default.
    pub security: KafkaSecurity,
    /// `TOPIC_PREFIX`: put before every topic's name. Empty by default.
    pub topic_prefix: String,
}

/// How brokers are talked to. The default is neither encrypted nor logged in.
#[derive(Clone, Debug, Default)]
pub struct KafkaSecurity {
    pub tls: Option<KafkaTls>,
    pub login: Option<KafkaLogin>,
}

/// That connections are encrypted, and brokers must be who they say.
#[derive(Clone, Debug)]
pub struct KafkaTls {
    /// `KAFKA_CA_FILE`: who may vouch for them. By default whom the system trusts.
    pub ca_file: Option<CaFile>,
}

/// Who we are to the brokers.
#[derive(Clone, Debug)]
pub struct KafkaLogin {
    /// `KAFKA_SASL_MECHANISM`. Defaults to `SCRAM-SHA-512`.
    pub mechanism: SaslMechanism,
    /// `KAFKA_USERNAME`
    pub username: String,
    /// `KAFKA_PASSWORD`
    pub password: SecretString,
}

/// How a login is proven.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SaslMechanism {
    ScramSha512,
    ScramSha256,
    /// Shows the password to the broker, so never without TLS.
    Plain,
}

impl Settings for Kafka {
    fn read(vars: &mut Vars) -> Self {
        let brokers: String = vars.required(
            "KAFKA_BROKERS",
            "127.0.0.1:19092",
            "Kafka brokers to start from, a comma-separated list of host:port",
        );
        let security = KafkaSecurity::read(vars);
        let topic_prefix: String = vars.or(
            "TOPIC_PREFIX",
            "",
            "Put before the name of every topic, so that several pipelines can share a Kafka",
        );
        vars.check(
            "KAFKA_BROKERS",
            brokers.split(',').all(super::groups::is_host_and_port),
            "must be a comma-separated list of host:port",
        );
        vars.check(
            "TOPIC_PREFIX",
            topic_prefix.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)),
            "must hold only letters, digits, dots, underscores and hyphens",
        );
        Self { brokers, security, topic_prefix }
    }
}

impl Settings for KafkaSecurity {
    fn read(vars: &mut Vars) -> Self {
        let Protocol { tls, sasl } = vars.or(
            "KAFKA_SECURITY_PROTOCOL",
            "PLAINTEXT",
            "How Kafka's brokers are talked to: `PLAINTEXT`, `SSL`, `SASL_SSL` or `SASL_PLAINTEXT`",
        );
        let ca_file: Option<CaFile> = vars.optional(
            "KAFKA_CA_FILE",
            "Certificates (PEM) of who may vouch for the brokers; unset: whom the system trusts",
        );
        let mechanism = vars.or(
            "KAFKA_SASL_MECHANISM",
            "SCRAM-SHA-512",
            "How the login is proven: `SCRAM-SHA-512`, `SCRAM-SHA-256`, or with TLS also `PLAIN`",
        );
        let username: Option<String> =
            vars.optional("KAFKA_USERNAME", "Who this is to Kafka, where the protocol has SASL");
        let password: Option<SecretString> =
            vars.optional("KAFKA_PASSWORD", "The password of KAFKA_USERNAME");

        // A certificate or a password that nobody looks at would be a safety that is not there.
        let unused = "must stand beside a KAFKA_SECURITY_PROTOCOL";
        vars.check(
            "KAFKA_CA_FILE",
            tls || ca_file.is_none(),
            format!("{unused} with TLS: SSL or SASL_SSL"),
        );
        for (name, given) in
            [("KAFKA_USERNAME", username.is_some()), ("KAFKA_PASSWORD", password.is_some())]
        {
            vars.check(name, sasl || !given, format!("{unused} with SASL, such as SASL_SSL"));
            vars.check(name, given || !sasl, "must be set where KAFKA_SECURITY_PROTOCOL has SASL");
        }
        vars.check(
            "KAFKA_SASL_MECHANISM",
            tls || !sasl || mechanism != SaslMechanism::Plain,
            "must be a SCRAM one without TLS: PLAIN would send the password for all to read",
        );
        let login = username.zip(password);
        Self {
            tls: tls.then_some(KafkaTls { ca_file }),
            login: login.map(|(username, password)| KafkaLogin { mechanism, username, password }),
        }
    }
}

/// What Kafka calls the security protocol of a listener.
struct Protocol {
    tls: bool,
    sasl: bool,
}

impl Value for Protocol {
    fn parse(text: &str) -> Result<Self, String> {
        let (tls, sasl) = match text.to_ascii_uppercase().as_str() {
            "PLAINTEXT" => (false, false),
            "SSL" => (true, false),
            "SASL_PLAINTEXT" => (false, true),
            "SASL_SSL" => (true, true),
            _ => return Err("is none of PLAINTEXT, SSL, SASL_SSL and SASL_PLAINTEXT".to_owned()),
        };
        Ok(Self { tls, sasl })
    }
}

impl Value for SaslMechanism {
    fn parse(text: &str) -> Result<Self, String> {
        match text.to_ascii_uppercase().as_str() {
            "SCRAM-SHA-512" => Ok(Self::ScramSha512),
            "SCRAM-SHA-256" => Ok(Self::ScramSha256),
            "PLAIN" => Ok(Self::Plain),
            _ => Err("is none of SCRAM-SHA-512, SCRAM-SHA-256 and PLAIN".to_owned()),
        }
    }
}
