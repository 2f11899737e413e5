//! Where a server keeps its data and its log, and which port it takes.

use std::fs::Permissions;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use tempfile::TempDir;
use uuid::Uuid;

use crate::StartError;
use crate::kafka::Role;
use crate::procfs::Identity;
use crate::secured::Demands;

const TEMPORARY_PREFIX: &str = "local-stack-";

/// Names the process that a temporary folder belongs to.
const OWNER_FILE: &str = "owner";

/// The port a server listens on, always on 127.0.0.1.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Port {
    /// This one, or an error that names it.
    Fixed(u16),
    /// One that nobody uses.
    Free,
}

/// Where one server lives.
#[derive(Clone, Debug)]
pub struct Place {
    pub(crate) data: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) port: Port,
    pub(crate) durable: bool,
    /// The port that clients are told, where it is another.
    pub(crate) advertised: Option<u16>,
    /// What a Kafka here is within its cluster.
    pub(crate) role: Role,
    /// What clients must prove, where they must.
    pub(crate) demands: Option<Arc<Demands>>,
    /// Keeps a temporary folder for as long as somebody uses it.
    _temporary: Option<Arc<TempDir>>,
}

impl Place {
    /// A place that outlives the server: data is there again at the next start.
    pub fn lasting(data: impl Into<PathBuf>, log: impl Into<PathBuf>, port: Port) -> Self {
        Self {
            data: data.into(),
            log: log.into(),
            port,
            durable: true,
            advertised: None,
            role: Role::Alone,
            demands: None,
            _temporary: None,
        }
    }

    /// A folder of its own, on a free port, removed together with the server.
    ///
    /// Data survives a kill of the server there, but not the loss of power: nothing is synced.
    pub fn temporary() -> io::Result<Self> {
        Ok(Self::within(&Arc::new(temporary_folder()?), "server"))
    }

    /// A place in a folder that the caller removes, on a free port; nothing is synced.
    pub fn throwaway(data: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        Self { durable: false, ..Self::lasting(data, log, Port::Free) }
    }

    /// One of several servers in the same temporary folder.
    pub(crate) fn within(folder: &Arc<TempDir>, name: &str) -> Self {
        Self {
            data: folder.path().join(name),
            log: folder.path().join(format!("{name}.log")),
            port: Port::Free,
            durable: false,
            advertised: None,
            role: Role::Alone,
            demands: None,
            _temporary: Some(Arc::clone(folder)),
        }
    }

    /// The same place with another port.
    #[must_use]
    pub fn with_port(mut self, port: Port) -> Self {
        self.port = port;
        self
    }

    /// The same place behind a proxy: Kafka tells its clients to come to this port instead.
    #[must_use]
    pub fn advertising(mut self, port: u16) -> Self {
        self.advertised = Some(port);
        self
    }

    /// The same place for a server that lets only those in who speak TLS and prove who they are.
    #[must_use]
    pub fn demanding(mut self, demands: Demands) -> Self {
        self.demands = Some(Arc::new(demands));
        self
    }

    /// The same place for one node of a cluster.
    #[must_use]
    pub(crate) fn of_cluster(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    /// The server's log file.
    pub fn log(&self) -> &Path {
        &self.log
    }
}

/// The clone that this was built in, where the jars are and data goes.
pub fn repository() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    folder.canonicalize().unwrap_or(folder)
}

/// Makes a temporary folder that a server run as another user can reach as well.
///
/// Where this process is killed before it can remove the folder, the next one that makes a folder
/// does, and unmounts what was mounted directly below it.
pub fn temporary_folder() -> io::Result<TempDir> {
    let named = std::env::temp_dir();
    let base = if reachable_by_everyone(&named) { named } else { PathBuf::from("/var/tmp") };

    remove_abandoned(&base);
    let folder = tempfile::Builder::new()
        .prefix(TEMPORARY_PREFIX)
        .permissions(Permissions::from_mode(0o755))
        .tempdir_in(base)?;
    if let Some(owner) = Identity::of(std::process::id()) {
        std::fs::write(folder.path().join(OWNER_FILE), owner.to_string())?;
    }
    Ok(folder)
}

/// Removes the temporary folders of processes that were killed before they could.
fn remove_abandoned(base: &Path) {
    for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX) {
            continue;
        }
        let owner = std::fs::read_to_string(entry.path().join(OWNER_FILE)).ok();
        if owner.as_deref().and_then(Identity::parse).is_some_and(|it| !it.is_running()) {
            unmount_below(&entry.path());
            // Another user's, or somebody else is removing it: then it is not ours to worry about.
            drop(std::fs::remove_dir_all(entry.path()));
        }
    }
}

/// Unmounts the file systems whose mount points stand in a folder.
fn unmount_below(folder: &Path) {
    let device_of = |path: &Path| path.metadata().ok().map(|it| it.dev());
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|it| it.is_dir())
            && device_of(&entry.path()) != device_of(folder)
        {
            unmount(&entry.path());
        }
    }
}

/// Unmounts a file system, and does not wait for those who still use it. Where that is not allowed it
/// stays.
pub fn unmount(mounted: &Path) {
    drop(Command::new("umount").arg("--lazy").arg(mounted).stderr(Stdio::null()).status());
}

/// Tells whether every user may pass through a folder and all folders above it.
pub(crate) fn reachable_by_everyone(folder: &Path) -> bool {
    const OTHERS_MAY_PASS: u32 = 0o001;
    folder.ancestors().all(|it| it.metadata().is_ok_and(|at| at.mode() & OTHERS_MAY_PASS != 0))
}

/// Finds the port to use, which nobody listens on at this moment.
pub(crate) fn choose_port(
    port: Port,
    server: &'static str,
    variable: &'static str,
) -> Result<u16, StartError> {
    match port {
        Port::Fixed(port) if is_free(port) => Ok(port),
        Port::Fixed(port) => Err(StartError::PortInUse { server, port, variable }),
        Port::Free => free_port().ok_or(StartError::NoFreePort(server)),
    }
}

/// Picks a port below those that the system gives to outgoing connections.
///
/// A port from that range could be taken by any client while its server is being restarted.
pub(crate) fn free_port() -> Option<u16> {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 10_000;
    const ATTEMPTS: usize = 100;

    (0..ATTEMPTS)
        .map(|_| {
            let [high, low, ..] = *Uuid::new_v4().as_bytes();
            FIRST + u16::from_be_bytes([high, low]) % COUNT
        })
        .find(|port| is_free(*port))
}

/// Finds the first port from this one on, of a hundred, that nobody listens on.
pub fn first_free_port(from: u16) -> Option<u16> {
    (from..from.saturating_add(100)).find(|port| is_free(*port))
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
