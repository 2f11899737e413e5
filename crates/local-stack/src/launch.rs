//! Starting a program so that it does not outlive this process.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{OnceLock, mpsc};

use nix::unistd::{Gid, Uid};

use crate::StartError;

/// A program and how to run it.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    path: PathBuf,
    args: Vec<std::ffi::OsString>,
    envs: Vec<(String, String)>,
    user: Option<(Uid, Gid)>,
}

impl Program {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), args: Vec::new(), envs: Vec::new(), user: None }
    }

    /// A program of the search path, if it is there and runs.
    pub(crate) fn installed(name: &str, or_else: &'static str) -> Result<Self, StartError> {
        let missing = |_| StartError::NotInstalled { what: name.to_owned(), or_else };
        Self::new(name).arg("--version").output().map_err(missing)?;
        Ok(Self::new(name))
    }

    #[must_use]
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    #[must_use]
    pub(crate) fn args<I: IntoIterator<Item: AsRef<OsStr>>>(mut self, args: I) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    #[must_use]
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.envs.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs it as another user, where one is given.
    #[must_use]
    pub(crate) fn user(mut self, user: Option<(Uid, Gid)>) -> Self {
        self.user = user;
        self
    }

    /// Runs it to its end, for a short step such as formatting a data folder.
    pub(crate) fn output(&self) -> io::Result<std::process::Output> {
        self.command(Command::new(&self.path)).output()
    }

    /// Starts it in a process group of its own, so that a Ctrl-C at the terminal reaches only us.
    ///
    /// Where `setpriv` of util-linux exists, the kernel ends it when this process ends, however
    /// that happens.
    pub(crate) fn spawn(&self, log: &Path) -> io::Result<Child> {
        let out = File::options().create(true).append(true).open(log)?;
        let mut command = self.command(bound_to_this_thread(self.path.as_os_str()));
        command.process_group(0).stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        on_lasting_thread(command)
    }

    fn command(&self, mut command: Command) -> Command {
        command.args(&self.args).envs(self.envs.iter().map(|(name, value)| (name, value)));
        // The current folder may be one that the other user cannot enter.
        command.current_dir("/");
        if let Some((user, group)) = self.user {
            command.uid(user.as_raw()).gid(group.as_raw());
        }
        command
    }
}

/// Spawns on a thread that lives as long as this process.
///
/// "The parent has died" means to the kernel that the *thread* that made the child has ended, and
/// the threads of an async runtime come and go.
pub(crate) fn on_lasting_thread(command: Command) -> io::Result<Child> {
    type Job = (Command, mpsc::Sender<io::Result<Child>>);
    static THREAD: OnceLock<mpsc::Sender<Job>> = OnceLock::new();

    let thread = THREAD.get_or_init(|| {
        let (sender, jobs) = mpsc::channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, reply) in jobs {
                // Nobody waits for the reply only if its caller has panicked.
                drop(reply.send(command.spawn()));
            }
        });
        sender
    });

    let (reply, child) = mpsc::channel();
    thread.send((command, reply)).map_err(io::Error::other)?;
    child.recv().map_err(io::Error::other)?
}

/// A command that the kernel kills when the thread that spawns it ends, where `setpriv` exists.
pub(crate) fn bound_to_this_thread(program: &OsStr) -> Command {
    let setpriv = ["/usr/bin/setpriv", "/bin/setpriv"].map(Path::new);
    match setpriv.into_iter().find(|path| path.exists()) {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "--"]).arg(program);
            command
        }
        None => Command::new(program),
    }
}
