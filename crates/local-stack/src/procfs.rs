//! What Linux tells about processes; elsewhere, nothing is known and nothing is found.

use std::fmt;
use std::path::Path;

/// What identifies a process for ever: a pid alone is used again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Identity {
    pub(crate) pid: u32,
    /// Ticks since the machine started.
    pub(crate) started: u64,
}

impl Identity {
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let stat = Stat::of(pid)?;
        (!stat.ended).then_some(Self { pid, started: stat.started })
    }

    /// Reads what [`Display`](fmt::Display) wrote.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (pid, started) = text.trim().split_once(' ')?;
        Some(Self { pid: pid.parse().ok()?, started: started.parse().ok()? })
    }

    pub(crate) fn is_running(self) -> bool {
        Self::of(self.pid) == Some(self)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pid, self.started)
    }
}

/// Every process below this one, parents before children.
pub(crate) fn descendants(pid: u32) -> Vec<u32> {
    let all: Vec<(u32, Stat)> = all().filter_map(|pid| Some((pid, Stat::of(pid)?))).collect();

    let mut found = vec![pid];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(all.iter().filter(|(_, stat)| stat.parent == parent).map(|(pid, _)| pid));
        next += 1;
    }
    found.remove(0);
    found
}

/// Every process whose current folder is this one, as far as we may see.
pub(crate) fn working_in(folder: &Path) -> Vec<u32> {
    let works_there = |pid: &u32| {
        let folder_of = Path::new("/proc").join(pid.to_string()).join("cwd");
        std::fs::read_link(folder_of).is_ok_and(|it| it == folder)
    };
    all().filter(works_there).collect()
}

fn all() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

struct Stat {
    parent: u32,
    started: u64,
    /// Dead, and only waiting for its parent to take notice.
    ended: bool,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        let text = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
        Self::parse(&text.ok()?)
    }

    /// Reads a line of `/proc/<pid>/stat`; the name in parentheses may hold anything.
    fn parse(line: &str) -> Option<Self> {
        let (_, after_name) = line.rsplit_once(')')?;
        let mut fields = after_name.split_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        // `starttime` is the 22nd field of the line: 17 stand between it and the parent.
        let started = fields.nth(17)?.parse().ok()?;
        Some(Self { parent, started, ended: matches!(state, "Z" | "X") })
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let line = "7 (a) b (c) S 5 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 1 2";

        let stat = Stat::parse(line).unwrap();

        assert_eq!((stat.parent, stat.started, stat.ended), (5, 4242, false));
    }

    #[test]
    fn a_child_is_found_below_its_parent_and_in_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new("sleep").arg("60").current_dir(folder.path()).spawn().unwrap();

        let (below, there) = (descendants(std::process::id()), working_in(folder.path()));

        child.kill().unwrap();
        child.wait().unwrap();
        assert!(below.contains(&child.id()), "{below:?}");
        assert_eq!(there, [child.id()]);
    }
}
