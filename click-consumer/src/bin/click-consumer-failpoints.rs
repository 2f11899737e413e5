//! The click-consumer binary for fault tests, which dies or freezes where `FAILPOINTS` says so.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Reads `FAILPOINTS`; until the end of the process.
    let _scenario = fail::FailScenario::setup();

    service_kit::main_with(service_kit::service!(), click_consumer::run)
}
