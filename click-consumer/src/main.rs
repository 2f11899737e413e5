//! The click-consumer binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    service_kit::main_with(service_kit::service!(), click_consumer::run)
}
