//! Runs the binary, and puts events on a topic of the test's own.

use std::{
    net::{IpAddr, Ipv4Addr},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use local_stack::testing::{Scope, stack};
use proto_schemas::{AdEvent, AdId, DedupWindow, EventId, Kind, NewEvent, Timestamp, UserAgent};
use rdkafka::{
    ClientConfig,
    producer::{FutureProducer, FutureRecord},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdout, Command},
    time::timeout,
};

/// How long anything in these tests may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// Servers of the test's own names, and the command line set up for them.
#[derive(Debug)]
pub(crate) struct Test {
    pub(crate) scope: Scope,
    pub(crate) database_url: String,
}

/// What a command said in the end.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A command that goes on until it is told to stop.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    out: Option<Lines<BufReader<ChildStdout>>>,
    pub(crate) err: Lines<BufReader<ChildStderr>>,
}

impl Test {
    /// A test that needs no database.
    pub(crate) fn new(name: &str) -> Self {
        let scope = stack().scope(name);
        let database_url = scope.stack.database_url.clone();
        Self { scope, database_url }
    }

    /// A test with an empty database of its own.
    pub(crate) async fn with_database(name: &str) -> Self {
        let test = Self::new(name);
        let database_url = test.scope.create_database().await;
        Self { database_url, ..test }
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("KAFKA_BROKERS", &self.scope.stack.kafka_brokers)
            .env("DATABASE_URL", &self.database_url)
            .env("REDIS_URL", &self.scope.stack.redis_url)
            .env("TOPIC_PREFIX", &self.scope.topic_prefix)
            .env("REDIS_PREFIX", &self.scope.redis_prefix)
            .kill_on_drop(true);
        command
    }

    pub(crate) async fn adctl(&self, args: &[&str]) -> Said {
        let mut command = self.command(env!("CARGO_BIN_EXE_adctl"));
        Said::of(command.args(args)).await
    }

    pub(crate) async fn adctl_with_env(&self, env: (&str, &str), args: &[&str]) -> Said {
        let mut command = self.command(env!("CARGO_BIN_EXE_adctl"));
        Said::of(command.env(env.0, env.1).args(args)).await
    }

    pub(crate) fn start_adctl(&self, args: &[&str]) -> Running {
        Running::start(self.command(env!("CARGO_BIN_EXE_adctl")).args(args))
    }

    /// Puts records on the topic of `kind`, one after the other.
    pub(crate) async fn produce(&self, kind: Kind, records: &[(Vec<u8>, Vec<u8>)]) {
        let producer: FutureProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.scope.stack.kafka_brokers)
            .set("compression.type", "lz4")
            .set("message.max.bytes", "100000000")
            .create()
            .expect("a producer");
        let topics = self.scope.topics();
        for (key, value) in records {
            let record = FutureRecord::to(topics.of(kind)).key(key).payload(value);
            producer.send(record, PATIENCE).await.expect("acknowledged");
        }
    }
}

impl Said {
    pub(crate) async fn of(command: &mut Command) -> Self {
        let output =
            timeout(PATIENCE, command.stdin(Stdio::null()).output()).await.expect("ends in time");
        let program = command.as_std().get_program().display();
        let hint = format!("{program} cannot be run; scripts/install.sh --tests installs it");
        let output = output.expect(&hint);
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("UTF-8"),
            err: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// What it printed, where it succeeded.
    #[track_caller]
    pub(crate) fn success(&self) -> &str {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out.trim_end()
    }

    /// Why it failed.
    #[track_caller]
    pub(crate) fn failure(&self) -> &str {
        assert_eq!(self.code, Some(1), "{self:?}");
        self.err.trim_end()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).expect(&self.err)
    }
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("can be run");
        let out = BufReader::new(child.stdout.take().expect("piped")).lines();
        let err = BufReader::new(child.stderr.take().expect("piped")).lines();
        Self { child, out: Some(out), err }
    }

    pub(crate) fn out(&mut self) -> &mut Lines<BufReader<ChildStdout>> {
        self.out.as_mut().expect("not closed yet")
    }

    /// Reads no more of what it prints.
    pub(crate) fn close_out(&mut self) {
        self.out = None;
    }

    pub(crate) fn interrupt(&self) {
        let id = self.child.id().expect("still runs").cast_signed();
        let pid = nix::unistd::Pid::from_raw(id);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("signalled");
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait()).await.expect("ends in time").expect("waited for")
    }
}

/// The next line of a running command.
pub(crate) async fn next_line<R: AsyncRead + Unpin>(lines: &mut Lines<BufReader<R>>) -> String {
    let line = timeout(PATIENCE, lines.next_line()).await.expect("a line in time");
    line.expect("read").expect("not the end")
}

/// An event that differs from any other of another `number`.
pub(crate) fn event(kind: Kind, number: u32) -> AdEvent {
    NewEvent {
        kind,
        ad_id: AdId::new(7).expect("in range"),
        occurred_at: Timestamp::from_micros(1_744_736_100_250_000).expect("in range"),
        received_at: Timestamp::from_micros(1_744_736_101_000_001).expect("in range"),
        address: IpAddr::V4(Ipv4Addr::from_bits(0xc612_0000 + number)),
        playback_ms: Some(12_500),
        event_id: Some(EventId::new(format!("event-{number}")).expect("valid")),
        user_agent: UserAgent::from_header(b"Player/1.0"),
    }
    .into_event(DedupWindow::MILLISECOND)
}

/// Key and value of an event's record.
pub(crate) fn record(event: &AdEvent) -> (Vec<u8>, Vec<u8>) {
    (event.dedup_key.as_bytes().to_vec(), event.encode())
}

/// A file with `text` in it.
pub(crate) fn file(text: &str) -> tempfile::TempPath {
    let path = tempfile::NamedTempFile::new().expect("a file").into_temp_path();
    std::fs::write(&path, text).expect("written");
    path
}
