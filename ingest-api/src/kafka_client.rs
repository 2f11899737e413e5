//! What librdkafka has to say, in our logs.

use kafka_access::Refusals;
use rdkafka::{ClientContext, config::RDKafkaLogLevel, error::KafkaError};
use tracing::{debug, warn};

/// Sends the client's log lines to `tracing`, and remembers why Kafka refuses it.
///
/// Nothing else here is at `error`: what the service makes of a failure is logged where it is handled.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogToTracing {
    pub(crate) refusals: Refusals,
}

impl ClientContext for LogToTracing {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        use RDKafkaLogLevel::{Alert, Critical, Debug, Emerg, Error, Info, Notice, Warning};
        match level {
            Emerg | Alert | Critical | Error | Warning => {
                warn!(kafka.facility = facility, message, "librdkafka warns");
            }
            Notice | Info | Debug => {
                debug!(kafka.facility = facility, message, "librdkafka says");
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.refusals.tell(&error, reason);
        // The same again, more often, and each one twice.
        debug!(%error, reason, "librdkafka reports an error");
    }
}
