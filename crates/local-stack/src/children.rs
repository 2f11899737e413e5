//! What a command leaves behind is found again and ended, and signals reach it once.

use std::ffi::OsStr;
use std::io::{IsTerminal as _, stdin};
use std::process::Command;

use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpgrp, tcgetpgrp};

use crate::launch;
use crate::process::{POLL, kill_tree, signal_to};
use crate::procfs::descendants;

/// Makes processes whose parent has died children of this one, where the system can do that.
pub fn adopt_orphans() {
    // Without it an orphan goes to init, as it would have done anyway.
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_child_subreaper(true).ok();
}

/// A command that is killed when the thread that spawns it ends, where the system can do that.
pub fn bound_to_this_thread(program: &OsStr) -> Command {
    launch::bound_to_this_thread(program)
}

/// Kills whatever is left below this process, and takes notice of it.
pub fn kill_all() {
    let me = std::process::id();
    // Ends: each round kills all there is, and nothing that is dead makes more.
    while !descendants(me).is_empty() {
        for pid in descendants(me) {
            kill_tree(pid);
        }
        while matches!(
            waitpid(None, Some(WaitPidFlag::WNOHANG)),
            Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..))
        ) {}
        std::thread::sleep(POLL);
    }
}

/// Hands a Ctrl-C on, unless the terminal has already given it to every process of our group.
pub fn pass_on_interrupt(pid: u32) {
    let from_terminal = stdin().is_terminal() && tcgetpgrp(stdin()).is_ok_and(|it| it == getpgrp());
    if !from_terminal {
        signal_to(pid, Signal::SIGINT);
    }
}

/// Asks a process to end.
pub fn terminate(pid: u32) {
    signal_to(pid, Signal::SIGTERM);
}

/// Asks a process and all of its group to end, where it leads one.
pub fn terminate_group(pid: u32) {
    if let Ok(pid) = i32::try_from(pid) {
        nix::sys::signal::killpg(Pid::from_raw(pid), Signal::SIGTERM).ok();
    }
}
