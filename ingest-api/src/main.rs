//! Runs the ingest service.

use std::process::ExitCode;

fn main() -> ExitCode {
    service_kit::main_with(service_kit::service!(), ingest_api::run)
}
