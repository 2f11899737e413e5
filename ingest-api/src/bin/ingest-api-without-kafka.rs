//! The ingest-api binary for the benchmark: it answers as if Kafka had each event at once.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: service_kit::Allocator = service_kit::Allocator;

fn main() -> ExitCode {
    service_kit::main_with(service_kit::service!(), ingest_api::run)
}
