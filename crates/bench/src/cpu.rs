//! How much processor time a process has taken.

use std::time::Duration;

use anyhow::Context as _;
use nix::{time::ClockId, unistd::Pid};

/// Processor time of all threads of a process since it was started, those that ended included.
///
/// # Errors
///
/// Where there is no such process.
pub(crate) fn taken_by(pid: u32) -> anyhow::Result<Duration> {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid.cast_signed()));
    let clock = clock.with_context(|| format!("the processor time of process {pid}"))?;
    Ok(clock.now()?.into())
}
