//! `local-stack exec`: the command's code, its variables, and nothing that is left behind.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Waits for a line on standard output, and then for ever.
const PRINT_AND_WAIT: &str = r#"echo "$KAFKA_BROKERS $DATABASE_URL $REDIS_URL"; exec sleep 600"#;

#[test]
fn the_exit_code_is_the_commands_own() {
    // With all three set there is nothing to start, which keeps this quick.
    let status = exec()
        .env("KAFKA_BROKERS", "a:1")
        .env("DATABASE_URL", "postgres://b")
        .env("REDIS_URL", "redis://c")
        .args([
            "sh",
            "-c",
            r#"test "$KAFKA_BROKERS$DATABASE_URL$REDIS_URL" = a:1postgres://bredis://c && exit 7"#,
        ])
        .status()
        .unwrap();

    assert_eq!(status.code(), Some(7));
}

#[test]
fn a_command_that_does_not_exist_is_named() {
    let output = exec()
        .env("KAFKA_BROKERS", "a:1")
        .env("DATABASE_URL", "postgres://b")
        .env("REDIS_URL", "redis://c")
        .arg("no-such-command")
        .output()
        .unwrap();

    let said = String::from_utf8(output.stderr).unwrap();
    // As a shell says it.
    assert_eq!(output.status.code(), Some(127));
    assert!(said.contains("no-such-command"), "{said}");
}

#[test]
fn only_what_is_not_set_is_started_and_all_of_it_ends_with_the_command() {
    let marker = format!("marker-{}", std::process::id());
    // An orphan that would outlive its parent: it is found and ended all the same.
    let script = format!("echo $DATABASE_URL; sh -c 'exec -a {marker} sleep 600' & disown; exit 3");

    let output = exec().env("KAFKA_BROKERS", "a:1").args(["bash", "-c", &script]).output().unwrap();

    assert_eq!(output.status.code(), Some(3));
    let url = String::from_utf8(output.stdout).unwrap();
    let port = url.trim().rsplit([':', '/']).nth(1).unwrap();
    assert_eq!(processes_with(&format!("port={port}")), Vec::<u32>::new());
    assert_eq!(processes_with(&marker), Vec::<u32>::new());
}

#[test]
fn a_terminated_stack_takes_its_servers_along() {
    let mut stack = Running::start();

    kill(stack.pid(), Signal::SIGTERM).unwrap();

    // 128 + 15: the command was ended by the signal that was passed on to it.
    assert_eq!(stack.child.wait().unwrap().code(), Some(143));
    stack.expect_gone();
}

#[test]
fn a_stack_that_is_killed_takes_its_servers_along() {
    let mut stack = Running::start();

    kill(stack.pid(), Signal::SIGKILL).unwrap();

    stack.child.wait().unwrap();
    stack.expect_gone();
}

/// A stack whose command waits.
struct Running {
    child: Child,
    servers: Vec<u32>,
}

impl Running {
    fn start() -> Self {
        use std::io::{BufRead as _, BufReader};

        let mut child = exec()
            .args(["sh", "-c", PRINT_AND_WAIT])
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("local-stack runs");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the variables");

        let ports: Vec<_> = line
            .split_whitespace()
            .map(|url| url.rsplit(':').next().unwrap_or_default().trim_end_matches("/ads"))
            .collect();
        assert_eq!(processes_with(&format!("port={}", ports[1])).len(), 1, "{line}");
        let servers = children_of(child.id());
        assert_eq!(servers.len(), 4, "three servers and the command: {servers:?}");
        Self { child, servers }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"))
    }

    /// Waits until nothing of it is left; a killed process takes a moment to end.
    fn expect_gone(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.servers.iter().any(|pid| is_alive(*pid)) {
            assert!(Instant::now() < deadline, "still there: {:?}", self.servers);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn exec() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_local-stack"));
    command.arg("exec").arg("--");
    for name in ["KAFKA_BROKERS", "DATABASE_URL", "REDIS_URL"] {
        command.env_remove(name);
    }
    command
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").expect("Linux");
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn processes_with(argument: &str) -> Vec<u32> {
    processes()
        .filter(|pid| *pid != std::process::id())
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).split('\0').any(|it| it == argument)
        })
        .collect()
}

fn children_of(parent: u32) -> Vec<u32> {
    let parent = format!("PPid:\t{parent}\n");
    processes()
        .filter(|pid| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
            status.is_ok_and(|it| it.contains(&parent))
        })
        .collect()
}

/// A process that has ended may be listed until its parent takes notice.
fn is_alive(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.contains("State:") && !status.contains("State:\tZ")
}
