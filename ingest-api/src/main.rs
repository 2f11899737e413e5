//! Runs the ingest service.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// For librdkafka's C as well; `.cargo/config.toml` says how soon it gives back what is freed (ADR 17).
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    service_kit::main_with(service_kit::service!(), ingest_api::run)
}
