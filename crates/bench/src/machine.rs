//! On what it was measured.

use std::{fmt, fs, process::Command};

use anyhow::Context as _;
use proto_schemas::{Timestamp, headers, topics::PARTITIONS};

use crate::bare::LINGER;

/// The machine, the versions of what took part, and the settings that matter.
#[derive(Debug)]
pub(crate) struct Machine(Vec<(&'static str, String)>);

/// Of Postgres, what a reader wants to know.
const POSTGRES_SETTINGS: [&str; 6] = [
    "shared_buffers",
    "max_wal_size",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_compression",
];

impl Machine {
    /// This machine, now. What cannot be found out is called unknown: it is for people to read.
    ///
    /// # Errors
    ///
    /// Where Postgres does not answer.
    pub(crate) async fn here() -> anyhow::Result<Self> {
        let stack = local_stack::testing::stack();
        let (postgres, settings) = of_postgres(&stack.database_url).await?;
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let unknown = || "unknown".to_owned();
        let model = field_of("/proc/cpuinfo", "model name").unwrap_or_else(unknown);
        let memory = field_of("/proc/meminfo", "MemTotal").unwrap_or_else(unknown);
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Ok(Self(vec![
            ("date", headers::rfc3339(Timestamp::now())),
            ("processor", format!("{cores} cores, {model}")),
            ("memory", memory),
            ("Linux", kernel.trim().to_owned()),
            ("commit", said_by("git", &["describe", "--always", "--dirty"])),
            ("Rust", said_by("rustc", &["--version"])),
            ("Java", said_by("java", &["-version"])),
            (
                "Kafka",
                format!("{}, one broker, its disk not synced", local_stack::kafka::version()),
            ),
            ("Postgres", format!("{postgres}; {settings}")),
            ("Redis", format!("{}; nothing on disk", said_by("redis-server", &["--version"]))),
            (
                "services",
                format!(
                    "release builds, settings as by default except where a row says so; linger of ingest's \
                     producer {LINGER:?}; {PARTITIONS} partitions of each topic"
                ),
            ),
        ]))
    }
}

async fn of_postgres(url: &str) -> anyhow::Result<(String, String)> {
    let (client, _connection) = click_store::connect(&url.into(), "bench").await?;
    let show = async |name: &str| -> anyhow::Result<String> {
        let row = client.query_one(&format!("SHOW {name}"), &[]).await;
        Ok(row.with_context(|| format!("SHOW {name}"))?.try_get(0)?)
    };
    let mut settings = Vec::new();
    for name in POSTGRES_SETTINGS {
        settings.push(format!("{name} {}", show(name).await?));
    }
    Ok((show("server_version").await?, settings.join(", ")))
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
