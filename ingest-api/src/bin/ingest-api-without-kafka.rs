//! The ingest-api binary for the benchmark: it answers as if Kafka had each event at once.

use std::process::ExitCode;

fn main() -> ExitCode {
    service_kit::main_with(service_kit::service!(), ingest_api::run)
}
