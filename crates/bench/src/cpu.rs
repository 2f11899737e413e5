//! How much processor time processes have taken.

use std::{os::unix::process::parent_id, path::Path, time::Duration};

use anyhow::Context as _;
use nix::{time::ClockId, unistd::Pid};

/// What the kernel counts a process's time in, for whoever asks: a hundredth of a second, always.
const TICK: Duration = Duration::from_millis(10);

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

/// The servers that were started for this program: its siblings, below the local stack.
///
/// A server that somebody else has started is not among them, and what it takes is not known.
#[derive(Clone, Debug)]
pub(crate) struct Servers(Vec<(&'static str, u32)>);

impl Servers {
    /// By the names of their programs, and as what the report calls them.
    const KNOWN: [(&'static str, &'static str); 3] =
        [("java", "Kafka"), ("postgres", "Postgres"), ("redis-server", "Redis")];

    pub(crate) fn beside() -> Self {
        let siblings: Vec<Stat> = all().filter(|it| it.parent == parent_id()).collect();
        let found = Self::KNOWN.iter().filter_map(|(program, name)| {
            let server = siblings.iter().find(|it| it.program == *program)?;
            Some((*name, server.pid))
        });
        Self(found.collect())
    }

    /// What each has taken so far, with all processes that it has started: Postgres has one for each
    /// connection.
    pub(crate) fn taken(&self) -> Vec<(&'static str, Duration)> {
        let all: Vec<Stat> = all().collect();
        self.0.iter().map(|&(name, pid)| (name, TICK * ticks_of_tree(&all, pid))).collect()
    }
}

fn ticks_of_tree(all: &[Stat], root: u32) -> u32 {
    let own = all.iter().find(|it| it.pid == root).map_or(0, |it| it.ticks + it.ticks_of_ended);
    let children = all.iter().filter(|it| it.parent == root);
    own + children.map(|it| ticks_of_tree(all, it.pid)).sum::<u32>()
}

fn all() -> impl Iterator<Item = Stat> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        // It may have ended since.
        let line = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
        Stat::parse(pid, &line.ok()?)
    })
}

#[derive(Debug, Eq, PartialEq)]
struct Stat {
    pid: u32,
    program: String,
    parent: u32,
    ticks: u32,
    /// Of children that have ended and were waited for.
    ticks_of_ended: u32,
}

impl Stat {
    /// Reads a line of `/proc/<pid>/stat`; the name in parentheses may hold anything.
    fn parse(pid: u32, line: &str) -> Option<Self> {
        let (before, after) = line.rsplit_once(')')?;
        let (_, program) = before.split_once('(')?;
        let fields: Vec<&str> = after.split_whitespace().collect();
        // The third field of the line is the first of these.
        let field = |number: usize| fields.get(number - 3)?.parse::<u32>().ok();
        Some(Self {
            pid,
            program: program.to_owned(),
            parent: field(4)?,
            ticks: field(14)? + field(15)?,
            ticks_of_ended: field(16)? + field(17)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let line = "7 (a) b (c) S 5 7 7 0 -1 4194560 1 2 3 4 50 6 70 8 20 0 1 0 4242 1 2";

        let stat = Stat::parse(7, line).expect("a line");
        let program = "a) b (c".to_owned();
        let expected = Stat { pid: 7, program, parent: 5, ticks: 56, ticks_of_ended: 78 };
        assert_eq!(stat, expected);
    }

    #[test]
    fn a_server_takes_what_its_children_take_and_have_taken() {
        let stat = |pid, parent, ticks, ticks_of_ended| {
            let program = "postgres".to_owned();
            Stat { pid, program, parent, ticks, ticks_of_ended }
        };
        let all =
            [stat(10, 1, 1, 20), stat(11, 10, 300, 0), stat(12, 10, 4000, 0), stat(2, 1, 7, 0)];

        assert_eq!(ticks_of_tree(&all, 10), 4321);
    }

    #[test]
    fn time_that_was_taken_is_seen() {
        let before = taken_by(std::process::id()).expect("this process");
        while taken_by(std::process::id()).expect("this process") == before {
            std::hint::black_box(before);
        }
    }
}
