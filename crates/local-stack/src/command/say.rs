//! What is said on the terminal.
#![expect(clippy::print_stderr, reason = "a command line tool talks to its user")]

/// A line of progress, beside the command's own output and not in it.
pub(crate) fn progress(text: &str) {
    eprintln!("local-stack: {text}");
}

/// Why nothing more will happen, with the causes.
pub(crate) fn problem(error: &anyhow::Error) {
    eprintln!("local-stack: {error:#}");
}
