//! What is said on the terminal.
#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a command line tool talks to its user"
)]

/// What was asked for.
pub(crate) fn result(text: &str) {
    println!("{text}");
}

/// A line of progress, beside the command's own output and not in it.
pub(crate) fn progress(text: &str) {
    eprintln!("local-stack: {text}");
}

/// Why nothing more will happen, with the causes.
pub(crate) fn problem(error: &anyhow::Error) {
    eprintln!("local-stack: {error:#}");
}
