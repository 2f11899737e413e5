//! Why a server did not start, in words that say what to do.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

/// A server that did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(
        "port {port} for {server} is already in use: stop what listens there, or choose another \
         port with {variable}"
    )]
    PortInUse { server: &'static str, port: u16, variable: &'static str },

    #[error("no free port for {0} was found")]
    NoFreePort(&'static str),

    #[error("{data} is in use by another local stack{owner}: stop it first", data = data.display())]
    Claimed { data: PathBuf, owner: String },

    #[error("{what} was not found: run scripts/install.sh, {or_else}")]
    NotInstalled { what: String, or_else: &'static str },

    #[error("{name} is not built: {} is missing, run `make run`", binary.display())]
    NotBuilt { name: &'static str, binary: PathBuf },

    #[error("{server} stopped while starting ({status})\n{log}")]
    Exited { server: &'static str, status: ExitStatus, log: LogTail },

    #[error("{server} did not answer within {} s: {last}\n{log}", limit.as_secs())]
    NotReady { server: &'static str, limit: Duration, last: String, log: LogTail },

    #[error("{what}\n{output}")]
    Preparing { what: String, output: String },

    #[error("{what}: {}", path.display())]
    File { what: String, path: PathBuf, source: io::Error },
}

impl StartError {
    /// Wraps a failed file operation with the path it was about.
    pub(crate) fn file(what: &str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let (what, path) = (what.to_owned(), path.to_owned());
        move |source| Self::File { what: format!("{what} ({source})"), path, source }
    }
}

/// The last lines of a server's log, and where the rest is.
#[derive(Debug)]
pub struct LogTail {
    path: PathBuf,
    lines: Vec<String>,
}

impl LogTail {
    /// How many lines are worth showing: the cause is nearly always among them.
    const LINES: usize = 15;

    pub(crate) fn of(path: &Path) -> Self {
        // A log that cannot be read leaves the path, which is still the best hint there is.
        let bytes = std::fs::read(path).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let mut lines: Vec<_> = text.lines().rev().take(Self::LINES).map(str::to_owned).collect();
        lines.reverse();
        Self { path: path.to_owned(), lines }
    }

    pub(crate) fn contains(&self, text: &str) -> bool {
        self.lines.iter().any(|line| line.contains(text))
    }
}

impl std::fmt::Display for LogTail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the end of its log, {}:", self.path.display())?;
        if self.lines.is_empty() {
            write!(f, "\n  (empty)")?;
        }
        for line in &self.lines {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}
