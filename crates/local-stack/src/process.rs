//! One running server process, and the files that keep two of them apart.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};

use crate::StartError;
use crate::launch::Program;
use crate::procfs::{Identity, descendants};

/// How often a process is looked at while something is awaited of it.
pub(crate) const POLL: Duration = Duration::from_millis(25);

/// A running process, killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pid_file: PathBuf,
}

impl Process {
    pub(crate) fn spawn(program: &Program, log: &Path, pid_file: PathBuf) -> io::Result<Self> {
        let process = Self { child: program.spawn(log)?, pid_file };
        if let Some(identity) = Identity::of(process.pid()) {
            std::fs::write(&process.pid_file, format!("{identity}\n"))?;
        }
        Ok(process)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        // The child is ours and not yet waited for, so asking cannot fail.
        self.child.try_wait().ok().flatten()
    }

    /// Asks it to end, and kills it where it has not after `grace`.
    ///
    /// # Cancellation
    ///
    /// Kills it at once.
    pub(crate) async fn stop(mut self, signal: Signal, grace: Duration) {
        signal_to(self.pid(), signal);
        let deadline = Instant::now() + grace;
        while self.exited().is_none() && Instant::now() < deadline {
            sleep(POLL).await;
        }
    }

    /// Kills it and every process below it at once, as a power cut would.
    fn kill(&mut self) {
        if self.exited().is_none() {
            kill_tree(self.pid());
            // It cannot survive a SIGKILL, so this returns; there is nobody to tell otherwise.
            drop(self.child.wait());
        }
        drop(std::fs::remove_file(&self.pid_file));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The right to use a data folder, held by one process of this machine at a time.
#[derive(Debug)]
pub(crate) struct Claim {
    pid_file: PathBuf,
    /// The lock ends with the file's being closed, also by a `kill -9`.
    lock: File,
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Closing is not enough while a child is being started: until it executes its program, it
        // holds a copy of the file.
        self.lock.unlock().ok();
    }
}

impl Claim {
    /// Takes the folder, and ends a server that a killed owner may have left there.
    pub(crate) fn take(data: &Path) -> Result<Self, StartError> {
        if let Some(parent) = data.parent() {
            std::fs::create_dir_all(parent)
                .map_err(StartError::file("folder could not be made", parent))?;
        }

        let lock_file = data.with_extension("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&lock_file)
            .map_err(StartError::file("lock could not be opened", &lock_file))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let owner = std::fs::read_to_string(&lock_file).unwrap_or_default();
                let owner = match owner.trim() {
                    "" => String::new(),
                    pid => format!(" (process {pid})"),
                };
                return Err(StartError::Claimed { data: data.to_owned(), owner });
            }
            Err(TryLockError::Error(error)) => {
                return Err(StartError::file("lock could not be taken", &lock_file)(error));
            }
        }
        std::fs::write(&lock_file, std::process::id().to_string())
            .map_err(StartError::file("lock could not be written", &lock_file))?;

        let claim = Self { pid_file: data.with_extension("pid"), lock };
        claim.end_leftover();
        Ok(claim)
    }

    pub(crate) fn pid_file(&self) -> PathBuf {
        self.pid_file.clone()
    }

    fn end_leftover(&self) {
        let Some(left) =
            std::fs::read_to_string(&self.pid_file).ok().as_deref().and_then(Identity::parse)
        else {
            return;
        };
        // A pid that was used again since has another start time, and is not ours to end.
        if left.is_running() {
            kill_tree(left.pid);
            while left.is_running() {
                // Bounded by the kernel: nothing survives a SIGKILL.
                std::thread::sleep(POLL);
            }
        }
        drop(std::fs::remove_file(&self.pid_file));
    }
}

/// Sends a signal; a process that is gone needs none.
pub(crate) fn signal_to(pid: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(pid) {
        kill(Pid::from_raw(pid), signal).ok();
    }
}

/// Kills a process and all below it.
pub(crate) fn kill_tree(pid: u32) {
    let below = descendants(pid);
    signal_to(pid, Signal::SIGKILL);
    for pid in below {
        signal_to(pid, Signal::SIGKILL);
    }
}
