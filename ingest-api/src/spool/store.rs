//! The events on disk: a table of redb, ordered by when they were written.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use proto_schemas::{AdEvent, Timestamp};
use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _,
    TableDefinition,
};

use super::file::{Health, SpoolFile};

/// Sequence number → trace context and encoded event.
const EVENTS: TableDefinition<'static, u64, (&str, &[u8])> = TableDefinition::new("events");

/// Events that this release cannot read: kept for somebody to look at, and not in the way of others.
const UNREADABLE: TableDefinition<'static, u64, (&str, &[u8])> = TableDefinition::new("unreadable");

const FILE: &str = "spool.redb";
const LOCK: &str = "lock";
/// Stands beside a file whose sync has failed, for the next process.
const GIVEN_UP: &str = "sync-failed";

/// Memory for pages. Small, because events are written once and read once.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// How long a failed store is left alone.
const REOPEN_AFTER: Duration = Duration::from_secs(1);

/// An event that waits on disk, as it was when it was received.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Entry {
    /// As [`TraceContext`](service_kit::traces::TraceContext) writes it on a line.
    pub(super) trace: String,
    pub(super) event: AdEvent,
}

/// Where an entry stands: numbers grow in the order in which entries were written.
pub(super) type Sequence = u64;

/// What the store holds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Levels {
    pub(super) events: u64,
    /// The disk that they may take, see [`cost`].
    pub(super) bytes: u64,
    pub(super) oldest: Option<Timestamp>,
}

/// Why the spool cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("another process uses the spool directory {0}; each process needs one of its own")]
    InUse(PathBuf),
    #[error("the spool directory {path} cannot be used")]
    Directory {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the spool {path} cannot be opened")]
    Store {
        path: PathBuf,
        #[source]
        source: Box<redb::Error>,
    },
}

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    #[error("disk error")]
    Disk(#[from] Box<redb::Error>),
    #[error("closed after a disk error, to be opened again soon")]
    Closed,
    #[error("a sync has failed, so the file takes no more events until it is empty")]
    GivenUp,
}

/// The table, and the directory that is ours alone.
pub(super) struct Store {
    directory: PathBuf,
    /// `None` after an error, which leaves redb's own state in doubt.
    database: Option<Database>,
    closed_at: Instant,
    health: Arc<Health>,
    next: Sequence,
    levels: Levels,
    /// Locked until the process ends, however it ends.
    _lock: File,
}

impl Store {
    /// Opens the store of a directory, which is made where it is missing. Checks every page, which
    /// takes some seconds for each GiB.
    pub(super) fn open(directory: &Path) -> Result<Self, OpenError> {
        let lock = take(directory)?;
        let mut store = Self {
            directory: directory.to_owned(),
            database: None,
            closed_at: Instant::now(),
            health: Arc::default(),
            next: 0,
            levels: Levels::default(),
            _lock: lock,
        };
        let given_up = directory.join(GIVEN_UP).exists();
        store.health.sync_failed.store(given_up, Ordering::Relaxed);
        store.reopen().map_err(|source| OpenError::Store { path: directory.join(FILE), source })?;
        Ok(store)
    }

    pub(super) fn levels(&self) -> Levels {
        self.levels
    }

    /// Writes entries behind all others, and syncs once. From `Ok` on they survive anything but the
    /// loss of the disk; after an error some may be there all the same.
    pub(super) fn append(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        self.start_anew_where_given_up_and_empty();
        if self.health.sync_failed.load(Ordering::Relaxed) {
            return Err(StoreError::GivenUp);
        }
        let first = self.next;
        self.with_database(|database| {
            let transaction = database.begin_write()?;
            {
                let mut table = transaction.open_table(EVENTS)?;
                for (sequence, entry) in (first..).zip(entries) {
                    let event = entry.event.encode();
                    table.insert(sequence, (entry.trace.as_str(), event.as_slice()))?;
                }
            }
            transaction.commit()?;
            Ok(())
        })?;
        self.next += entries.len() as u64;
        self.levels.events += entries.len() as u64;
        self.levels.bytes += entries.iter().map(Entry::cost).sum::<u64>();
        if self.levels.oldest.is_none() {
            self.levels.oldest = entries.first().map(|it| it.event.received_at);
        }
        Ok(())
    }

    /// Returns the oldest entries, at most `limit`. What cannot be read is set aside.
    pub(super) fn oldest(&mut self, limit: usize) -> Result<Vec<(Sequence, Entry)>, StoreError> {
        let (entries, unreadable) = self.with_database(|database| {
            let (mut entries, mut unreadable) = (Vec::new(), Vec::new());
            let table = database.begin_read()?.open_table(EVENTS)?;
            for row in table.range::<u64>(..)?.take(limit) {
                let (sequence, value) = row?;
                let (trace, event) = value.value();
                match AdEvent::decode(event) {
                    Ok(event) => {
                        let trace = trace.to_owned();
                        entries.push((sequence.value(), Entry { trace, event }));
                    }
                    Err(error) => unreadable.push((sequence.value(), error)),
                }
            }
            Ok((entries, unreadable))
        })?;
        for (sequence, error) in unreadable {
            tracing::error!(%error, sequence, "spooled event cannot be read, setting it aside");
            self.take_out(&[sequence], true)?;
        }
        Ok(entries)
    }

    /// Takes entries off the disk, and syncs once.
    pub(super) fn remove(&mut self, sequences: &[Sequence]) -> Result<(), StoreError> {
        self.take_out(sequences, false)?;
        self.start_anew_where_given_up_and_empty();
        Ok(())
    }

    /// Tells whether the next [`append`](Self::append) can work, as far as is known.
    pub(super) fn is_sound(&self) -> bool {
        self.database.is_some() && !self.health.sync_failed.load(Ordering::Relaxed)
    }

    fn take_out(&mut self, sequences: &[Sequence], set_aside: bool) -> Result<(), StoreError> {
        let (removed, bytes, oldest) = self.with_database(|database| {
            let transaction = database.begin_write()?;
            let (mut removed, mut bytes) = (0, 0);
            let oldest = {
                let mut table = transaction.open_table(EVENTS)?;
                let mut unreadable = transaction.open_table(UNREADABLE)?;
                for sequence in sequences {
                    let Some(value) = table.remove(sequence)? else { continue };
                    let (trace, event) = value.value();
                    removed += 1;
                    bytes += cost(trace, event.len());
                    if set_aside {
                        unreadable.insert(sequence, (trace, event))?;
                    }
                }
                table.first()?.and_then(|(_, value)| received_at(value.value().1))
            };
            transaction.commit()?;
            Ok((removed, bytes, oldest))
        })?;
        self.levels.events = self.levels.events.saturating_sub(removed);
        self.levels.bytes = self.levels.bytes.saturating_sub(bytes);
        self.levels.oldest = oldest;
        Ok(())
    }

    /// Runs something in the database, opening it first where it is closed, and closes it where that
    /// fails: redb refuses everything after an I/O error.
    fn with_database<T>(
        &mut self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        if self.database.is_none() {
            if self.closed_at.elapsed() < REOPEN_AFTER {
                return Err(StoreError::Closed);
            }
            self.closed_at = Instant::now();
            self.reopen()?;
        }
        let Some(database) = &self.database else { return Err(StoreError::Closed) };
        match work(database) {
            Ok(done) => Ok(done),
            Err(error) => {
                self.close();
                Err(StoreError::Disk(Box::new(error)))
            }
        }
    }

    fn close(&mut self) {
        self.database = None;
        self.closed_at = Instant::now();
        if self.health.sync_failed.load(Ordering::Relaxed) {
            // Best effort: this very disk is failing.
            drop(File::create(self.directory.join(GIVEN_UP)).and_then(|it| it.sync_all()));
        }
    }

    /// Opens the database, which repairs it after a crash, and counts what it holds.
    fn reopen(&mut self) -> Result<(), Box<redb::Error>> {
        let (database, levels, last) = self.open_and_count().map_err(Box::new)?;
        self.database = Some(database);
        self.levels = levels;
        // Never back: a number that was given out must not come again.
        self.next = self.next.max(last.map_or(0, |it| it + 1));
        Ok(())
    }

    fn open_and_count(&self) -> Result<(Database, Levels, Option<Sequence>), redb::Error> {
        let file = SpoolFile::open(&self.directory.join(FILE), Arc::clone(&self.health))?;
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            // Without it a file that something else has damaged could make redb panic.
            .set_check_integrity_on_open(true)
            .create_with_backend(file)?;
        // The name of a new file is not on the disk yet.
        File::open(&self.directory)?.sync_all()?;

        let transaction = database.begin_write()?;
        transaction.open_table(EVENTS)?;
        transaction.commit()?;
        let table = database.begin_read()?.open_table(EVENTS)?;
        let mut levels = Levels { events: table.len()?, ..Levels::default() };
        for row in table.range::<u64>(..)? {
            let (_, value) = row?;
            let (trace, event) = value.value();
            levels.bytes += cost(trace, event.len());
            if levels.oldest.is_none() {
                levels.oldest = received_at(event);
            }
        }
        let last = table.last()?.map(|(sequence, _)| sequence.value());
        drop(table);
        Ok((database, levels, last))
    }

    /// Begins a new file in place of one whose sync has failed, once nothing is in it any more.
    fn start_anew_where_given_up_and_empty(&mut self) {
        let given_up = self.health.sync_failed.load(Ordering::Relaxed);
        if !given_up || self.database.is_none() || self.levels.events > 0 {
            return;
        }
        self.database = None;
        // Closing may have failed once more, so the flag is reset behind it.
        self.health = Arc::default();
        let anew = fs::remove_file(self.directory.join(FILE))
            .map_err(redb::Error::from)
            .and_then(|()| self.reopen().map_err(|it| *it))
            .and_then(|()| {
                fs::remove_file(self.directory.join(GIVEN_UP))
                    .or_else(missing)
                    .map_err(redb::Error::from)
            });
        match anew {
            Ok(()) => tracing::info!("spool has a new file"),
            Err(error) => {
                tracing::warn!(%error, "spool could not be made anew");
                self.health.sync_failed.store(true, Ordering::Relaxed);
                self.close();
            }
        }
    }
}

impl Entry {
    fn cost(&self) -> u64 {
        cost(&self.trace, self.event.encode().len())
    }
}

/// The disk that an event takes at most: pages of a tree are between half full and full.
fn cost(trace: &str, event_bytes: usize) -> u64 {
    const ROW: usize = 32;
    2 * (ROW + trace.len() + event_bytes) as u64
}

fn received_at(event: &[u8]) -> Option<Timestamp> {
    AdEvent::decode(event).ok().map(|it| it.received_at)
}

fn missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Makes the directory and takes it for this process.
fn take(directory: &Path) -> Result<File, OpenError> {
    let failed = |source| OpenError::Directory { path: directory.to_owned(), source };
    fs::create_dir_all(directory).map_err(failed)?;
    let lock = File::create(directory.join(LOCK)).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(directory.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
