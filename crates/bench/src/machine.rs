//! On what it was measured.

use std::{fmt, fs, process::Command};

use proto_schemas::{Timestamp, headers};

/// The machine, and the versions of what took part.
#[derive(Debug)]
pub(crate) struct Machine(Vec<(&'static str, String)>);

impl Machine {
    /// This machine, now. What cannot be found out is called unknown: it is for people to read.
    pub(crate) fn here(postgres: String) -> Self {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let model = field_of("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned());
        let memory = field_of("/proc/meminfo", "MemTotal").unwrap_or_else(|| "unknown".to_owned());
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self(vec![
            ("date", headers::rfc3339(Timestamp::now())),
            ("processor", format!("{cores} cores, {model}")),
            ("memory", memory),
            ("Linux", kernel.trim().to_owned()),
            ("commit", said_by("git", &["describe", "--always", "--dirty"])),
            ("Rust", said_by("rustc", &["--version"])),
            ("Java", said_by("java", &["-version"])),
            ("Kafka", local_stack::kafka::version().to_owned()),
            ("Postgres", postgres),
            ("Redis", said_by("redis-server", &["--version"])),
        ])
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (name, value)) in self.0.iter().enumerate() {
            let separator = if number == 0 { "" } else { "\n" };
            write!(out, "{separator}- {name}: {value}")?;
        }
        Ok(())
    }
}

/// The first line of what a program says.
fn said_by(program: &str, args: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(args).output() else { return "unknown".to_owned() };
    // Java says its version on the other stream.
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).lines().next().unwrap_or("unknown").to_owned()
}

/// The value of `name: value` in a file of such lines.
fn field_of(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_prefix(':'))?;
    Some(value.trim().to_owned())
}
