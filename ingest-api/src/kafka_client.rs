//! What librdkafka has to say, in our logs.

use rdkafka::{ClientContext, config::RDKafkaLogLevel, error::KafkaError};
use tracing::{debug, warn};

/// Sends the client's log lines to `tracing`.
///
/// Nothing here is at `error`: what the service makes of a failure is logged where it is handled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogToTracing;

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
        // The same again, more often, and each one twice.
        debug!(%error, reason, "librdkafka reports an error");
    }
}
