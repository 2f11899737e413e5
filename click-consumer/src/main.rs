//! The click-consumer binary.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: service_kit::Allocator = service_kit::Allocator;

fn main() -> ExitCode {
    service_kit::main_with(service_kit::service!(), click_consumer::run)
}
