//! A disk that a test can fill: a small tmpfs, where this user may mount one.
//!
//! Elsewhere (no root, or a container without that right) no file of the server may grow any more
//! (`RLIMIT_FSIZE`): its writes fail as well, with "file too large" in the place of "no space left".
//! A line on standard error says that a test had to do so.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use local_stack::{
    Place,
    place::{temporary_folder, unmount},
    server::{Recipe, Server},
};
use tempfile::TempDir;

/// What fills the disk.
const BALLAST: &str = "ballast";

/// A disk of a test's own. Unmounted and removed when dropped, so it must be dropped after whoever
/// uses it.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
    mounted: bool,
    /// Removed after the disk is unmounted; also by the next test where this one is killed.
    _folder: TempDir,
}

impl SmallDisk {
    /// Makes one of this size.
    pub fn new(mebibytes: u32) -> Self {
        let folder = temporary_folder().expect("a temporary folder");
        let path = folder.path().join("disk");
        fs::create_dir(&path).expect("a folder");
        let size = format!("size={mebibytes}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&path).stderr(Stdio::null());
        let mounted = mount.status().is_ok_and(|it| it.success());
        if !mounted {
            // Not by a macro, whose output is shown of failed tests only.
            writeln!(std::io::stderr(), "no tmpfs may be mounted here: a test does without").ok();
        }
        Self { path, mounted, _folder: folder }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A place for a server whose data is on this disk, and its log elsewhere.
    pub fn place(&self) -> Place {
        Place::throwaway(&self.path, self.path.with_extension("log"))
    }

    /// The same in a folder of the disk, so that a copy of the data fits beside it.
    pub fn place_within(&self) -> Place {
        Place::throwaway(self.path.join("data"), self.path.with_extension("log"))
    }

    /// Whether it is a disk of its own. If not, only [`fill_under`](Self::fill_under) can fill it.
    pub fn is_mounted(&self) -> bool {
        self.mounted
    }

    /// Fills it to the last byte.
    pub fn fill(&self) {
        /// As much as a page.
        const CHUNK: [u8; 4096] = [0; 4096];
        assert!(self.mounted, "it would be the disk of this machine");
        let mut file = File::options().create(true).append(true).open(self.path.join(BALLAST));
        let file = file.as_mut().expect("a file without content takes no space");
        let full = loop {
            if let Err(error) = file.write_all(&CHUNK) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::StorageFull, "{full}");
    }

    /// Takes away what [`fill`](Self::fill) put there.
    pub fn make_space(&self) {
        fs::remove_file(self.path.join(BALLAST)).expect("it was filled");
    }

    /// Fills it under a server, or lets no file of the server grow any more.
    pub fn fill_under<R: Recipe>(&self, server: &Server<R>) {
        if self.mounted {
            self.fill();
        } else {
            limit_files(server.pid().expect("it runs"), "0:");
        }
    }

    /// Ends [`fill_under`](Self::fill_under), also for a server that has stopped meanwhile.
    pub fn make_space_under<R: Recipe>(&self, server: &mut Server<R>) {
        if self.mounted {
            self.make_space();
        } else if server.is_running() {
            limit_files(server.pid().expect("it runs"), "unlimited:");
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if self.mounted {
            unmount(&self.path);
        }
    }
}

/// Sets the soft limit on the size of files, of a process and of its children.
fn limit_files(pid: u32, limit: &str) {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    // It may end meanwhile.
    let all = children
        .as_deref()
        .unwrap_or_default()
        .split_whitespace()
        .map(|it| it.parse().expect("a pid"))
        .chain([pid]);
    for pid in all {
        // A backend of Postgres may end at any time.
        let Ok(owner) = fs::metadata(format!("/proc/{pid}")) else { continue };
        // As its own user: root in a container may not do it to another's process.
        let set = Command::new("prlimit")
            .args(["--pid", &pid.to_string(), &format!("--fsize={limit}")])
            .uid(owner.uid())
            .gid(owner.gid())
            .status();
        let gone = || fs::metadata(format!("/proc/{pid}")).is_err();
        assert!(set.is_ok_and(|it| it.success()) || gone(), "no limit on process {pid}");
    }
}
