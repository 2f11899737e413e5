//! What is shown while a replay runs: a bar on a terminal, a line now and then elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use crate::output;

/// Time between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows how far a replay is.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    next_line: Instant,
}

impl Progress {
    /// Shows nothing yet of `events`. indicatif hides the bar where stderr is no terminal.
    pub(super) fn new(events: u64) -> Self {
        let bar = ProgressBar::new(events);
        // With the longest message this still fits into 80 columns.
        let style = "{bar:16} {human_pos}/{human_len}  {per_sec}  {eta} left  {wide_msg}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Self { bar, next_line: Instant::now() + LINE_EVERY }
    }

    /// Shows how many events are settled.
    pub(super) fn settled(&self, events: u64) {
        self.bar.set_position(events);
    }

    /// Called every second: shows what keeps the replay from going on, if anything does.
    pub(super) fn tick(&mut self, (settled, events): (u64, u64), trouble: Option<&str>) {
        let trouble = trouble.map(|it| format!("retrying: {it}")).unwrap_or_default();
        if self.bar.is_hidden() && Instant::now() >= self.next_line {
            self.next_line = Instant::now() + LINE_EVERY;
            let separator = if trouble.is_empty() { "" } else { "; " };
            output::note(format_args!("{settled} of {events} events{separator}{trouble}"));
        }
        self.bar.set_message(trouble);
        self.bar.tick();
    }

    /// Makes room for the summary.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
