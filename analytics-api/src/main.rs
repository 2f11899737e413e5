//! Runs the analytics service.

use std::process::ExitCode;

fn main() -> ExitCode {
    service_kit::main_with(service_kit::service!(), analytics_api::run)
}
