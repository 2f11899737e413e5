//! What is shown while something long runs: a bar on a terminal, a line now and then elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use crate::output;

/// Time between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows how far something is.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    /// What is counted, in the plural.
    what: &'static str,
    next_line: Instant,
}

impl Progress {
    /// Shows nothing yet of `all`. indicatif hides the bar where stderr is no terminal.
    pub(crate) fn new(what: &'static str, all: u64) -> Self {
        let bar = ProgressBar::new(all);
        // With the longest message this still fits into 80 columns.
        let style = "{bar:16} {human_pos}/{human_len}  {per_sec}  {eta} left  {wide_msg}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Self { bar, what, next_line: Instant::now() + LINE_EVERY }
    }

    /// Shows how many are settled.
    pub(crate) fn settled(&self, settled: u64) {
        self.bar.set_position(settled);
    }

    /// Called every second: shows what keeps it from going on, if anything does.
    pub(crate) fn tick(&mut self, (settled, all): (u64, u64), trouble: Option<&str>) {
        let trouble = trouble.map(|it| format!("retrying: {it}")).unwrap_or_default();
        if self.bar.is_hidden() && Instant::now() >= self.next_line {
            self.next_line = Instant::now() + LINE_EVERY;
            let separator = if trouble.is_empty() { "" } else { "; " };
            output::note(format_args!("{settled} of {all} {}{separator}{trouble}", self.what));
        }
        self.bar.set_message(trouble);
        self.bar.tick();
    }

    /// Makes room for the summary.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
