//! How every client gets into Kafka: the properties that librdkafka wants, and what it means when
//! Kafka refuses.

mod refusal;

use rdkafka::ClientConfig;
use secrecy::ExposeSecret as _;
use service_kit::settings::groups::{Kafka, KafkaSecurity, SaslMechanism};

pub use crate::refusal::Refusals;

/// Begins the configuration of a client: where Kafka is, TLS and login. Nothing else is set.
pub fn client_config(kafka: &Kafka) -> ClientConfig {
    client_config_of(&kafka.brokers, &kafka.security)
}

/// The same, for who has its brokers from elsewhere.
pub fn client_config_of(brokers: &str, security: &KafkaSecurity) -> ClientConfig {
    let KafkaSecurity { tls, login } = security;
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set(
        "security.protocol",
        match (tls, login) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        },
    );
    if let Some(tls) = tls {
        // "probe" looks in the places where systems keep what they trust. Without it only OpenSSL's
        // own place counts, which a container without OpenSSL's tools does not have.
        let path = tls.ca_file.as_ref().map(|it| it.path().to_string_lossy());
        config
            .set("ssl.ca.location", path.as_deref().unwrap_or("probe"))
            // Its default, said here because everything hangs on it: the certificate names the host.
            .set("ssl.endpoint.identification.algorithm", "https")
            .set("enable.ssl.certificate.verification", "true");
    }
    if let Some(login) = login {
        config
            .set(
                "sasl.mechanisms",
                match login.mechanism {
                    SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
                    SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
                    SaslMechanism::Plain => "PLAIN",
                },
            )
            .set("sasl.username", &login.username)
            .set("sasl.password", login.password.expose_secret());
    }
    config
}

#[cfg(test)]
mod tests {
    use service_kit::settings::Env;

    use super::*;

    fn config(pairs: &[(&str, &str)]) -> ClientConfig {
        let pairs = pairs.iter().chain(&[("KAFKA_BROKERS", "a:1")]).copied();
        client_config(&Env::from_pairs(pairs).read().expect("settings"))
    }

    #[test]
    fn a_client_without_settings_is_neither_encrypted_nor_logged_in() {
        let config = config(&[]);

        assert_eq!(config.get("bootstrap.servers"), Some("a:1"));
        assert_eq!(config.get("security.protocol"), Some("plaintext"));
        assert_eq!(config.config_map().len(), 2);
    }

    #[test]
    fn librdkafka_is_built_with_what_the_settings_can_ask_for() {
        for (protocol, mechanism) in [
            ("sasl_ssl", "SCRAM-SHA-512"),
            ("SASL_SSL", "SCRAM-SHA-256"),
            ("SASL_SSL", "PLAIN"),
            ("SASL_PLAINTEXT", "SCRAM-SHA-512"),
        ] {
            let config = config(&[
                ("KAFKA_SECURITY_PROTOCOL", protocol),
                ("KAFKA_SASL_MECHANISM", mechanism),
                ("KAFKA_USERNAME", "ads"),
                ("KAFKA_PASSWORD", "secret"),
            ]);

            // It refuses what it was built without.
            config.create_native_config().expect("a configuration");
            assert_eq!(config.get("sasl.password"), Some("secret"));
        }
    }
}
