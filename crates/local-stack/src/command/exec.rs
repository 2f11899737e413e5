//! `local-stack exec`: a command with a stack of its own.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus};
use std::time::Instant;

use anyhow::Context as _;
use clap::Args;
use local_stack::children;
use local_stack::stack::{Places, Stack};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use super::say;
use super::stores::Given;

/// A command, and the stack that it gets.
#[derive(Args, Debug)]
#[command(
    about = "Run a command with a stack of its own",
    long_about = "Run a command with a stack of its own\n\n\
        Starts Kafka, Postgres and Redis on free ports in a temporary folder, sets KAFKA_BROKERS, \
        DATABASE_URL and REDIS_URL for the command, and removes everything when it ends. A variable \
        that is set already is left as it is, and its server is not started. The exit code is the \
        command's own."
)]
pub(crate) struct Exec {
    #[command(flatten)]
    given: Given,
    /// Sync to disk, and run the servers as in production: slower to start, for benchmarks
    #[arg(long)]
    durable: bool,
    /// What to run, with its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

impl Exec {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        children::adopt_orphans();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;

        let begun = Instant::now();
        // The start may be dropped at any await: servers that run die with their handles.
        let stack = tokio::select! {
            stack = self.start() => stack?,
            _ = interrupt.recv() => return Ok(code_of_signal(SignalKind::interrupt())),
            _ = terminate.recv() => return Ok(code_of_signal(SignalKind::terminate())),
        };
        say::progress(&format!("stack is up after {:.1} s", begun.elapsed().as_secs_f64()));

        let mut child = self
            .command(&stack)
            .spawn()
            .with_context(|| format!("{} could not be run", self.command[0].display()))?;
        let pid = child.id().unwrap_or_default();
        let status = loop {
            // All arms are cancel safe: what is not taken now is taken next time.
            tokio::select! {
                status = child.wait() => break status?,
                _ = interrupt.recv() => children::pass_on_interrupt(pid),
                _ = terminate.recv() => children::terminate(pid),
            }
        };

        // Killed and not stopped: the data goes with the stack.
        drop(stack);
        children::kill_all();
        Ok(code_of(status))
    }

    async fn start(&self) -> anyhow::Result<Stack> {
        let places = Places::temporary()?;
        let places = if self.durable { places.durable() } else { places };
        Ok(Stack::start(self.given.without(places)).await?)
    }

    fn command(&self, stack: &Stack) -> Command {
        // This future runs on the main thread, whose end is the end of this process.
        let mut command = Command::from(children::bound_to_this_thread(&self.command[0]));
        command.args(&self.command[1..]).envs(self.given.addresses(stack).variables());
        command
    }
}

/// A command's own code, or what a shell makes of the signal that ended it.
fn code_of(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|it| u8::try_from(it).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn code_of_signal(kind: SignalKind) -> ExitCode {
    code_of(ExitStatus::from_raw(kind.as_raw_value()))
}
