//! The ingest-api binary for the benchmark: it answers as if Kafka had each event at once.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// As the service has it.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    service_kit::main_with(service_kit::service!(), ingest_api::run)
}
