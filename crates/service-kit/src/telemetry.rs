//! Logs: one JSON object a line for machines, or text for people, on standard output.

use std::io::{IsTerminal as _, stdout};
use std::panic;

use tracing::error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

use crate::settings::Value;
use crate::settings::groups::Logs;
use crate::traces::WithIds;

/// How a log line is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people, with colours on a terminal.
    Text,
}

impl Value for LogFormat {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ => Err("is neither json nor text".to_owned()),
        }
    }
}

/// What is logged: a level such as `info`, or directives such as `info,ingest_api=debug`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogFilter(String);

impl Value for LogFilter {
    fn parse(text: &str) -> Result<Self, String> {
        match EnvFilter::try_new(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err("is not a level or a list of directives".to_owned()),
        }
    }
}

/// The filter that the operator asked for, without what would show viewers.
///
/// tokio-postgres logs the parameters of every statement at debug: addresses, user agents, ids of
/// events. They are shown only to an operator who names that target.
fn filter(level: &LogFilter) -> EnvFilter {
    const SECRETIVE: &str = "tokio_postgres";
    // Parsed once already, to become a `LogFilter`.
    let filter = EnvFilter::new(&level.0);
    if level.0.contains(SECRETIVE) {
        return filter;
    }
    match format!("{SECRETIVE}=info").parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    }
}

/// Sends the logs of this process, and the panics of its tasks, to standard output.
///
/// # Errors
///
/// If logging was set up before, because there can be only one.
pub fn init(logs: &Logs) -> Result<(), TryInitError> {
    let builder = tracing_subscriber::fmt().with_env_filter(filter(&logs.level));
    match logs.format {
        LogFormat::Json => {
            builder.json().flatten_event(true).map_event_format(WithIds).finish().try_init()?;
        }
        LogFormat::Text => {
            let colours = stdout().is_terminal();
            let builder = builder.with_ansi(colours);
            builder.map_event_format(|it| WithIds(it.with_ansi(colours))).finish().try_init()?;
        }
    }

    // A panic is a log line like any other, so that one parser reads everything.
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("(no message)");
        error!(panic.message = message, panic.place = place, "a task panicked");
    }));
    Ok(())
}
