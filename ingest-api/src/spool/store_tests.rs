//! Tests of the store: order, space, crashes and disk errors.

use std::net::Ipv4Addr;

use proto_schemas::{AdId, DedupWindow, EventId, Kind, NewEvent};
use tempfile::TempDir;

use super::*;

fn entry(number: u64) -> Entry {
    let received_at = Timestamp::from_micros(1_700_000_000_000_000 + number.cast_signed());
    let received_at = received_at.expect("a time");
    let event = NewEvent {
        kind: if number.is_multiple_of(3) { Kind::Impression } else { Kind::Click },
        ad_id: AdId::new(1 + number % 34).expect("an id"),
        occurred_at: received_at,
        received_at,
        address: Ipv4Addr::LOCALHOST.into(),
        playback_ms: None,
        event_id: Some(EventId::new(format!("event-{number}")).expect("an id")),
        user_agent: None,
    };
    let event = event.into_event(DedupWindow::MILLISECOND);
    Entry { trace: format!("00-{number:032x}-{number:016x}-00"), event }
}

fn entries(numbers: std::ops::Range<u64>) -> Vec<Entry> {
    numbers.map(entry).collect()
}

fn opened(directory: &TempDir) -> Store {
    Store::open(directory.path()).expect("a store")
}

fn held(store: &mut Store) -> Vec<Entry> {
    let oldest = store.oldest(usize::MAX).expect("readable");
    oldest.into_iter().map(|(_, entry)| entry).collect()
}

fn file_bytes(directory: &TempDir) -> u64 {
    fs::metadata(directory.path().join(FILE)).expect("the file").len()
}

/// Waits out the pause after an error.
fn after_the_pause<T>(mut attempt: impl FnMut() -> Result<T, StoreError>) -> T {
    let begun = Instant::now();
    loop {
        match attempt() {
            Ok(done) => return done,
            Err(StoreError::Closed) if begun.elapsed() < 10 * REOPEN_AFTER => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[test]
fn entries_come_back_as_they_were_in_the_order_in_which_they_were_written() {
    let directory = TempDir::new().expect("a folder");
    let mut store = opened(&directory);
    store.append(&entries(0..7)).expect("kept");
    store.append(&entries(7..20)).expect("kept");

    assert_eq!(held(&mut store), entries(0..20));
    let first: Vec<_> = store.oldest(3).expect("readable").into_iter().map(|it| it.0).collect();
    store.remove(&first).expect("removed");

    assert_eq!(held(&mut store), entries(3..20));
    let levels = store.levels();
    assert_eq!((levels.events, levels.oldest), (17, Some(entry(3).event.received_at)));

    drop(store);
    let mut store = opened(&directory);
    assert_eq!(store.levels(), levels);
    store.append(&entries(20..22)).expect("kept");
    assert_eq!(held(&mut store), entries(3..22));
}

#[test]
fn what_was_kept_survives_whatever_part_of_the_next_write_reached_the_disk() {
    const SECTOR: usize = 512;
    let (directory, after) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
    let mut store = opened(&directory);
    let read = || fs::read(directory.path().join(FILE)).expect("the file");
    let mut coin = coin();
    let mut number = 0;

    for round in 0..60 {
        let (synced, batch) = (read(), 1 + round % 25);
        store.append(&entries(number..number + batch)).expect("kept");
        let mut torn = read();
        // Between two syncs the system writes what it likes, in the order that it likes.
        for (at, sector) in torn.chunks_mut(SECTOR).enumerate() {
            let before = synced.get(at * SECTOR..at * SECTOR + sector.len());
            if let Some(before) = before.filter(|_| coin()) {
                sector.copy_from_slice(before);
            }
        }
        fs::write(after.path().join(FILE), &torn).expect("written");

        let mut recovered = opened(&after);

        let held = held(&mut recovered);
        let (all, before) = (entries(0..number + batch), entries(0..number).len());
        assert!(held.len() == before || held.len() == all.len(), "round {round}: {}", held.len());
        assert_eq!(held, all[..held.len()], "round {round}");
        recovered.append(&entries(7000..7001)).expect("goes on");
        number += batch;
    }
}

/// The same throws in every run.
fn coin() -> impl FnMut() -> bool {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 63 == 1
    }
}

#[test]
fn a_directory_belongs_to_one_process() {
    let directory = TempDir::new().expect("a folder");
    let store = opened(&directory);

    let second = Store::open(directory.path()).err().expect("refused");

    assert!(matches!(second, OpenError::InUse(_)));
    assert!(second.to_string().starts_with("another process uses the spool directory /"));
    drop(store);
    opened(&directory);
}

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let directory = TempDir::new().expect("a folder");
    let file = directory.path().join("file");
    File::create(&file).expect("a file");

    let error = Store::open(&file.join("spool")).err().expect("refused");

    assert!(matches!(error, OpenError::Directory { .. }), "{error:?}");
}

#[test]
fn a_file_that_is_no_spool_is_an_error_and_stays_as_it_is() {
    let directory = TempDir::new().expect("a folder");
    let file = directory.path().join(FILE);
    fs::write(&file, "something else").expect("written");

    let error = Store::open(directory.path()).err().expect("refused");

    assert!(matches!(error, OpenError::Store { .. }), "{error:?}");
    assert_eq!(fs::read(&file).expect("readable"), b"something else");
}

#[test]
fn after_a_failed_write_everything_that_was_kept_is_there_and_more_can_be_kept() {
    let directory = TempDir::new().expect("a folder");
    let mut store = opened(&directory);
    store.append(&entries(0..10)).expect("kept");

    store.health.fail_writes.store(true, Ordering::Relaxed);
    let failed = store.append(&entries(10..20)).expect_err("refused");
    assert!(matches!(failed, StoreError::Disk(_)), "{failed:?}");
    assert!(!store.is_sound());
    assert!(matches!(store.append(&entries(20..21)), Err(StoreError::Closed)), "at once");
    store.health.fail_writes.store(false, Ordering::Relaxed);

    after_the_pause(|| store.append(&entries(30..31)));
    assert!(store.is_sound());
    let held = held(&mut store);
    assert_eq!(held[..10], entries(0..10));
    assert_eq!(held.last(), Some(&entry(30)));
}

#[test]
fn after_a_failed_sync_nothing_is_kept_until_the_file_is_empty_and_made_anew() {
    let directory = TempDir::new().expect("a folder");
    let mut store = opened(&directory);
    store.append(&entries(0..10)).expect("kept");

    store.health.fail_syncs.store(true, Ordering::Relaxed);
    store.append(&entries(10..20)).expect_err("not synced");
    store.health.fail_syncs.store(false, Ordering::Relaxed);

    assert!(matches!(store.append(&entries(20..21)), Err(StoreError::GivenUp)));
    let rest = after_the_pause(|| store.oldest(usize::MAX));
    assert_eq!(rest[0].1, entry(0), "it can be drained");
    assert!(matches!(store.append(&entries(20..21)), Err(StoreError::GivenUp)));
    drop(store);
    // The next process knows of it.
    let mut store = opened(&directory);
    assert!(matches!(store.append(&entries(20..21)), Err(StoreError::GivenUp)));
    store.remove(&rest.iter().map(|it| it.0).collect::<Vec<_>>()).expect("removed");

    assert!(store.is_sound());
    store.append(&entries(20..21)).expect("kept");
    assert_eq!(held(&mut store), entries(20..21));
    drop(store);
    assert!(opened(&directory).is_sound());
}

#[test]
fn what_cannot_be_read_is_set_aside() {
    let directory = TempDir::new().expect("a folder");
    let mut store = opened(&directory);
    store.append(&entries(0..1)).expect("kept");
    let written = store.with_database(|database| {
        let transaction = database.begin_write()?;
        transaction.open_table(EVENTS)?.insert(1, ("", b"no event".as_slice()))?;
        transaction.commit()?;
        Ok(())
    });
    written.expect("written");
    store.next = 2;
    store.append(&entries(2..3)).expect("kept");

    assert_eq!(held(&mut store), [entry(0), entry(2)]);

    let aside =
        store.with_database(|database| Ok(database.begin_read()?.open_table(UNREADABLE)?.len()?));
    assert_eq!(aside.expect("readable"), 1);
}

#[test]
fn the_file_stays_within_what_is_counted_and_its_space_is_used_again() {
    const MAX_BYTES: u64 = 2 * 1024 * 1024;
    let directory = TempDir::new().expect("a folder");
    let mut store = opened(&directory);
    let mut number = 0;

    for round in 0..3 {
        // Batches of all sizes, as they come.
        while store.levels().bytes < MAX_BYTES {
            let batch = 1 + number % 97;
            store.append(&entries(number..number + batch)).expect("kept");
            number += batch;
        }
        assert!(file_bytes(&directory) <= MAX_BYTES, "round {round}: {}", file_bytes(&directory));
        while store.levels().events > 0 {
            let oldest = store.oldest(500).expect("readable");
            store.remove(&oldest.into_iter().map(|it| it.0).collect::<Vec<_>>()).expect("removed");
        }
        assert_eq!(store.levels(), Levels::default());
    }
}
