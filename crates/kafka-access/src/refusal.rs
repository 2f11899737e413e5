//! Why Kafka does not let a client in, in words that say what to look at.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing::error;

/// Remembers why Kafka refused a client last. Clones share it.
///
/// librdkafka tells this to a callback alone: whoever waits for an answer only learns that there was
/// none in time.
#[derive(Clone, Debug, Default)]
pub struct Refusals(Arc<Mutex<Option<Refusal>>>);

#[derive(Clone, Debug)]
struct Refusal {
    remedy: &'static str,
    /// What librdkafka said. It names brokers and users, and no secret.
    reason: String,
}

impl Refusals {
    /// Takes in an error that librdkafka reports, and returns what it means where Kafka refuses us:
    /// then trying again does not help. Logs it, once for each kind.
    pub fn tell(&self, error: &KafkaError, reason: &str) -> Option<String> {
        let remedy = remedy(error.rdkafka_error_code()?, reason)?;
        let refusal = Refusal { remedy, reason: reason.to_owned() };
        let text = refusal.to_string();
        let before = self.last().replace(refusal);
        if before.is_none_or(|it| it.remedy != remedy) {
            error!(reason, remedy, "kafka refuses the connection");
        }
        Some(text)
    }

    /// Why Kafka refused last; `None` where it did not since [`clear`](Self::clear).
    pub fn get(&self) -> Option<String> {
        self.last().as_ref().map(ToString::to_string)
    }

    /// Forgets it: Kafka has let us in.
    pub fn clear(&self) {
        self.last().take();
    }

    fn last(&self) -> MutexGuard<'_, Option<Refusal>> {
        // Whole after every statement.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.reason, self.remedy)
    }
}

fn remedy(code: RDKafkaErrorCode, reason: &str) -> Option<&'static str> {
    match code {
        RDKafkaErrorCode::Authentication => {
            Some("look at KAFKA_USERNAME, KAFKA_PASSWORD and KAFKA_SASL_MECHANISM")
        }
        RDKafkaErrorCode::SSL if reason.contains("certificate") => Some(
            "KAFKA_CA_FILE must hold who signed the broker's certificate, and the certificate must \
             name the broker's host",
        ),
        RDKafkaErrorCode::SSL => Some("look at KAFKA_SECURITY_PROTOCOL and the listener's port"),
        _ if reason.contains("security.protocol") => {
            Some("look at KAFKA_SECURITY_PROTOCOL: the listener may want TLS or a login")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_remembered_with_its_remedy_until_kafka_lets_us_in() {
        let refusals = Refusals::default();
        let error = KafkaError::Global(RDKafkaErrorCode::Authentication);

        let told = refusals.tell(&error, "b:1: Authentication failed").expect("a refusal");

        assert_eq!(
            told,
            "b:1: Authentication failed; look at KAFKA_USERNAME, KAFKA_PASSWORD and \
             KAFKA_SASL_MECHANISM"
        );
        assert_eq!(refusals.get(), Some(told));
        refusals.clear();
        assert_eq!(refusals.get(), None);
    }

    #[test]
    fn a_broker_that_is_away_refuses_nobody() {
        let error = KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure);

        assert_eq!(Refusals::default().tell(&error, "b:1: Connection refused"), None);
    }
}
