//! What is said on the terminal: results on stdout, everything else on stderr.
#![expect(clippy::print_stderr, reason = "a command line tool talks to its user")]

use std::{
    fmt::Display,
    io::{self, Write as _},
};

/// Prints a result. A reader that has gone away, such as `head`, is no error.
pub(crate) fn result(text: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}

/// Prints something that is good to know and no result.
pub(crate) fn note(text: impl Display) {
    eprintln!("adctl: {text}");
}

/// Prints why nothing more will happen, with the causes.
pub(crate) fn problem(error: &anyhow::Error) {
    eprintln!("adctl: {error:#}");
}
