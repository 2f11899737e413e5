//! Who runs Postgres, and where its data can be: it refuses root, and others cannot enter /root.

use std::io;
use std::os::unix::fs::{MetadataExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, User};

use super::INSTALLED_ELSEWHERE;
use crate::StartError;
use crate::place::reachable_by_everyone;

/// Finds the folder that the data is really in, and the user to run as (`None`: ourselves).
///
/// Where root has cloned into a folder that Postgres' user cannot enter, the data goes to
/// `/var/tmp`, with a link to it from the place that was asked for.
pub(super) fn settle(asked: &Path) -> Result<(PathBuf, Option<(Uid, Gid)>), StartError> {
    let inaccessible = |path: &Path| {
        StartError::file(
            "Postgres' data cannot be used (made by another user? `make clean` as that user \
             removes it)",
            path,
        )
    };

    if let Ok(data) = asked.canonicalize() {
        let owner = data.metadata().map_err(inaccessible(&data))?;
        let (user, group) = (Uid::from_raw(owner.uid()), Gid::from_raw(owner.gid()));
        if !Uid::effective().is_root() {
            data.read_dir().map_err(inaccessible(&data))?;
            return Ok((data, None));
        }
        if !user.is_root() {
            return Ok((data, Some((user, group))));
        }
    }
    if !Uid::effective().is_root() {
        return Ok((asked.to_owned(), None));
    }

    let user = unprivileged()?;
    let folder = asked.parent().unwrap_or(Path::new("/"));
    let data = if reachable_by_everyone(folder) {
        asked.to_owned()
    } else {
        let elsewhere = elsewhere(asked);
        match symlink(&elsewhere, asked) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(inaccessible(asked)(error));
            }
            _linked => elsewhere,
        }
    };
    make_for(user, &data).map_err(inaccessible(&data))?;
    Ok((data, Some(user)))
}

/// Makes the folder and gives it away, or checks that an earlier run did.
fn make_for((user, group): (Uid, Gid), data: &Path) -> io::Result<()> {
    match std::fs::create_dir(data) {
        Ok(()) => chown(data, Some(user.as_raw()), Some(group.as_raw())),
        // `/var/tmp` is open to all: a folder that somebody else has put there is not ours to use.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let found = data.symlink_metadata()?;
            let ours = found.is_dir() && (found.uid() == user.as_raw() || found.uid() == 0);
            if ours { chown(data, Some(user.as_raw()), Some(group.as_raw())) } else { Err(error) }
        }
        Err(error) => Err(error),
    }
}

/// One folder for each clone, so that two clones do not share data.
fn elsewhere(asked: &Path) -> PathBuf {
    let name = asked.to_string_lossy().replace('/', "-");
    Path::new("/var/tmp").join(format!("local-stack{name}"))
}

fn unprivileged() -> Result<(Uid, Gid), StartError> {
    ["postgres", "nobody"]
        .iter()
        .find_map(|name| User::from_name(name).ok().flatten())
        .map(|user| (user.uid, user.gid))
        .ok_or_else(|| StartError::NotInstalled {
            what: "a user to run Postgres as (`postgres` or `nobody`)".to_owned(),
            or_else: INSTALLED_ELSEWHERE,
        })
}
