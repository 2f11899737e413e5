//! A child process with a log, ended in whichever way a test likes and never left behind.

use std::{
    fs::File,
    io::Write as _,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
};

use local_stack::{
    children,
    server::{Recipe, Server},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::wait::until;

/// How much of a log is shown when a test fails.
const TAIL_LINES: usize = 30;

/// What to run: one of the workspace's binaries, its arguments, and all of its environment.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub(crate) binary: PathBuf,
    pub(crate) args: Vec<String>,
    /// Nothing else is inherited, unless `inherits`: what a developer has set must not change a test.
    pub(crate) environment: Vec<(String, String)>,
    /// For what is not ours, and finds its own things by `PATH` and `HOME`.
    pub(crate) inherits: bool,
    /// Takes both outputs; appended to, so that it spans restarts.
    pub(crate) log: PathBuf,
}

/// A child process. Dropping it kills it, and so does the end of the thread that started it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    pub(crate) fn spawn(command: &Command) -> Self {
        let Command { binary, args, environment, inherits, log } = command;
        let mut out = File::options().create(true).append(true).open(log).expect("a log file");
        writeln!(out, "--- started {}", binary.display()).expect("a log that can be written");
        let mut child = children::bound_to_this_thread(binary.as_os_str());
        if !inherits {
            child.env_clear();
        }
        child
            .env("RUST_BACKTRACE", "1")
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .args(args)
            .stdin(Stdio::null())
            .stdout(out.try_clone().expect("a second handle"))
            .stderr(out);
        Self { child: child.spawn().expect("the binary runs"), log: log.clone() }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where its outputs are.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Kills it at once, as `kill -9` does.
    pub fn kill_9(&mut self) {
        // Both fail only where it has ended and was waited for before.
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// Asks it to stop, and does not wait: see [`exit_code`](Self::exit_code).
    pub fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Stops it where it is; it keeps its connections, and says nothing on them.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it go on after [`freeze`](Self::freeze).
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Tells whether it stands still, by [`freeze`](Self::freeze) or by itself.
    pub fn is_frozen(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap_or_default();
        // The state stands behind the name, which is in brackets and may hold anything.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the child is ours")
    }

    /// Waits until it ends, and returns its exit code; for a signal, 128 and its number.
    pub async fn exit_code(mut self) -> i32 {
        self.ended().await
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, signal).expect("it is there: nobody has waited for it");
    }

    pub(crate) async fn ended(&mut self) -> i32 {
        let what = format!("process of {} ends", self.log.display());
        until(&what, async || self.exited().is_some()).await;
        let status = self.exited().expect("just seen");
        status.code().or(status.signal().map(|it| 128 + it)).expect("a code or a signal")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_9();
        if std::thread::panicking() {
            show_tail(&self.log, &self.said());
        }
    }
}

/// Stops a server where it is; it keeps its connections, and says nothing on them.
pub fn freeze<R: Recipe>(server: &Server<R>) {
    signal(server, Signal::SIGSTOP);
}

/// Lets a server go on after [`freeze`].
pub fn thaw<R: Recipe>(server: &Server<R>) {
    signal(server, Signal::SIGCONT);
}

/// Sends a signal to a server that runs.
pub(crate) fn signal<R: Recipe>(server: &Server<R>, signal: Signal) {
    let pid = server.pid().expect("it runs").cast_signed();
    kill(Pid::from_raw(pid), signal).expect("it runs");
}

/// Finds a binary of the workspace beside the test that runs.
pub(crate) fn binary(name: &str) -> PathBuf {
    let path = target_folder().join(name);
    // A test that was skipped in silence would be worse.
    assert!(path.exists(), "{} is missing: run `cargo build --workspace --bins`", path.display());
    path
}

/// The folder of the profile that this program was built with, such as `target/debug`.
pub(crate) fn target_folder() -> PathBuf {
    let this = std::env::current_exe().expect("this program's own path");
    let folder = this.parent().expect("the folder of this program");
    // Tests are in `deps`, examples in `examples`, binaries in the folder itself.
    let beside = |it: &&Path| it.ends_with("deps") || it.ends_with("examples");
    let folder = Some(folder).filter(beside).and_then(Path::parent).unwrap_or(folder);
    folder.to_owned()
}

#[expect(clippy::print_stderr, reason = "shown by the test runner beside the failure")]
fn show_tail(log: &Path, text: &str) {
    let lines: Vec<_> = text.lines().collect();
    eprintln!("the end of {}:", log.display());
    for line in lines.iter().skip(lines.len().saturating_sub(TAIL_LINES)) {
        eprintln!("  {line}");
    }
}
