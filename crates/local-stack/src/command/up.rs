//! `local-stack up`: only the stores, until Ctrl-C.

use std::process::ExitCode;

use clap::Args;
use service_kit::shutdown::Signals;

use super::say;
use super::stores::Stores;

/// The stores to keep up.
#[derive(Args, Debug)]
#[command(
    about = "Keep Kafka, Postgres and Redis up, with the topics made, until Ctrl-C",
    long_about = "Keep Kafka, Postgres and Redis up, with the topics made, until Ctrl-C\n\n\
        Data stays in .local/data for the next time; it is the same that `local-stack run` uses."
)]
pub(crate) struct Up {
    #[command(flatten)]
    stores: Stores,
}

impl Up {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let mut signals = Signals::catch()?;
        // The start may be dropped at any await: servers that run die with their handles.
        let (mut stack, addresses) = tokio::select! {
            started = self.stores.start() => started?,
            _ = signals.next() => return Ok(ExitCode::SUCCESS),
        };

        for (name, value) in addresses.variables() {
            say::result(&format!("export {name}={value}"));
        }
        say::progress("the stores are up; Ctrl-C stops them");
        signals.next().await;
        // A second Ctrl-C cuts the stopping short: what is left is killed.
        tokio::select! {
            () = stack.stop() => {}
            _ = signals.next() => {}
        }
        Ok(ExitCode::SUCCESS)
    }
}
