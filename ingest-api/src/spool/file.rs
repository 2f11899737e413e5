//! The file under the store, which remembers that a sync has failed.

use std::{
    fs::{File, OpenOptions},
    io,
    ops::Bound,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use redb::{BackendError, DatabaseError, StorageBackend, backends::FileBackend};

/// redb's own file, but for what [`Health`] remembers.
#[derive(Debug)]
pub(super) struct SpoolFile {
    inner: FileBackend,
    health: Arc<Health>,
}

/// What is known of the disk. Outlives the file, which is closed after every error.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Set by the first sync that fails, and unset only when the file is made anew.
    ///
    /// In between nobody knows which pages are on the disk: the system shows what was written all
    /// the same, and the next sync may succeed without having written it.
    pub(super) sync_failed: AtomicBool,
    #[cfg(test)]
    pub(super) fail_writes: AtomicBool,
    #[cfg(test)]
    pub(super) fail_syncs: AtomicBool,
}

impl SpoolFile {
    /// Opens the file, or makes it.
    pub(super) fn open(path: &Path, health: Arc<Health>) -> Result<Self, DatabaseError> {
        let file: File =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        Ok(Self { inner: FileBackend::new(file)?, health })
    }
}

impl StorageBackend for SpoolFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        #[cfg(test)]
        let synced = fail_if(&self.health.fail_syncs).and_then(|()| self.inner.sync_data());
        #[cfg(not(test))]
        let synced = self.inner.sync_data();
        if synced.is_err() {
            self.health.sync_failed.store(true, Ordering::Relaxed);
        }
        synced
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        fail_if(&self.health.fail_writes)?;
        self.inner.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }
}

#[cfg(test)]
fn fail_if(faulty: &AtomicBool) -> io::Result<()> {
    if faulty.load(Ordering::Relaxed) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
}
