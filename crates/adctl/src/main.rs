//! The operator's command line.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let cli = adctl::Cli::parse();
    adctl::main(cli)
}
