//! The reader's rules, one by one.

use std::{collections::BTreeMap, time::Instant};

use click_store::totals::CountedPartition;
use proto_schemas::{AdId, Kind};
use uuid::Uuid;

use super::*;

const FIRST: Uuid = Uuid::from_u128(1);
const SECOND: Uuid = Uuid::from_u128(2);

#[test]
fn nothing_is_believed_before_postgres_has_told_its_epoch() {
    let mut trust = Trust::default();

    assert!(trust.view().is_none());
    assert_eq!(trust.judge(&snapshot(FIRST, [9, 9])), Err(Distrust::NotCurrent));
}

#[test]
fn redis_is_believed_at_the_offsets_that_were_shown_and_past_them() {
    let mut trust = polled(FIRST, [0, 0]);
    trust.shown_from_postgres(&snapshot(FIRST, [5, 7]), Instant::now());

    assert_eq!(trust.judge(&snapshot(FIRST, [5, 7])), Ok(()));
    assert_eq!(trust.judge(&snapshot(FIRST, [6, 7])), Ok(()));
}

#[test]
fn redis_is_not_believed_where_one_partition_is_below_what_postgres_showed() {
    let mut trust = polled(FIRST, [0, 0]);
    trust.shown_from_postgres(&snapshot(FIRST, [5, 7]), Instant::now());

    assert_eq!(trust.judge(&snapshot(FIRST, [9, 6])), Err(Distrust::BehindMark));
    // It was not shown, so it left no mark.
    assert_eq!(trust.judge(&snapshot(FIRST, [5, 7])), Ok(()));
}

#[test]
fn redis_is_not_believed_below_what_itself_showed() {
    let mut trust = polled(FIRST, [0, 0]);
    assert_eq!(trust.judge(&snapshot(FIRST, [8, 8])), Ok(()));

    assert_eq!(trust.judge(&snapshot(FIRST, [8, 7])), Err(Distrust::BehindMark));
}

#[test]
fn a_view_of_the_same_epoch_keeps_the_marks() {
    let mut trust = polled(FIRST, [0, 0]);
    assert_eq!(trust.judge(&snapshot(FIRST, [8, 8])), Ok(()));

    trust.polled(trust.ticket(), standing(FIRST, [3, 3]), Instant::now());

    assert_eq!(trust.judge(&snapshot(FIRST, [7, 8])), Err(Distrust::BehindMark));
}

#[test]
fn what_postgres_counts_without_showing_it_is_no_mark() {
    let mut trust = polled(FIRST, [0, 0]);

    trust.polled(trust.ticket(), standing(FIRST, [100, 100]), Instant::now());

    assert_eq!(trust.judge(&snapshot(FIRST, [1, 1])), Ok(()));
}

#[test]
fn redis_is_not_believed_where_it_has_not_been_told_for_long() {
    let start = Instant::now();
    let mut trust = Trust::default();
    let mut told = |seconds, offsets| {
        let asked_at = start + Duration::from_secs(seconds);
        trust.polled(trust.ticket(), standing(FIRST, offsets), asked_at);
        trust.judge(&snapshot(FIRST, [5, 5]))
    };

    for (seconds, offsets) in [(0, [5, 5]), (9, [6, 8]), (10, [7, 9]), (19, [8, 9])] {
        assert_eq!(told(seconds, offsets), Ok(()), "it may be on its way");
    }
    assert_eq!(told(20, [9, 9]), Err(Distrust::Late));

    assert_eq!(trust.judge(&snapshot(FIRST, [7, 8])), Err(Distrust::Late));
    assert_eq!(trust.judge(&snapshot(FIRST, [7, 9])), Ok(()));
}

#[test]
fn a_new_epoch_gives_redis_its_time_again() {
    let start = Instant::now();
    let mut trust = Trust::default();
    for (seconds, epoch) in [(0, FIRST), (10, FIRST), (11, SECOND), (20, SECOND)] {
        let asked_at = start + Duration::from_secs(seconds);
        trust.polled(trust.ticket(), standing(epoch, [5, 5]), asked_at);
    }

    assert_eq!(trust.judge(&snapshot(SECOND, [5, 5])), Ok(()));
    assert_eq!(trust.judge(&snapshot(SECOND, [4, 5])), Err(Distrust::BehindMark));
}

#[test]
fn an_answer_of_an_epoch_that_ended_meanwhile_is_void() {
    let mut trust = polled(FIRST, [5, 5]);
    let late = snapshot(FIRST, [9, 9]);

    trust.polled(trust.ticket(), standing(SECOND, [5, 5]), Instant::now());

    assert_eq!(trust.judge(&late), Err(Distrust::NotCurrent));
}

#[test]
fn a_new_epoch_begins_where_postgres_stands() {
    let mut trust = polled(FIRST, [0, 0]);
    assert_eq!(trust.judge(&snapshot(FIRST, [8, 8])), Ok(()));

    trust.polled(trust.ticket(), standing(SECOND, [9, 8]), Instant::now());

    assert_eq!(trust.judge(&snapshot(SECOND, [8, 8])), Err(Distrust::BehindMark));
    assert_eq!(trust.judge(&snapshot(SECOND, [9, 8])), Ok(()));
}

#[test]
fn a_restored_postgres_with_a_new_epoch_may_be_lower() {
    let mut trust = polled(FIRST, [0, 0]);
    assert_eq!(trust.judge(&snapshot(FIRST, [80, 80])), Ok(()));

    trust.shown_from_postgres(&snapshot(SECOND, [30, 30]), Instant::now());

    assert_eq!(trust.judge(&snapshot(SECOND, [30, 31])), Ok(()));
}

#[test]
fn a_postgres_that_was_set_back_in_the_same_epoch_lowers_no_mark() {
    let mut trust = polled(FIRST, [0, 0]);
    assert_eq!(trust.judge(&snapshot(FIRST, [80, 80])), Ok(()));

    trust.shown_from_postgres(&snapshot(FIRST, [30, 30]), Instant::now());

    assert_eq!(trust.judge(&snapshot(FIRST, [79, 80])), Err(Distrust::BehindMark));
}

#[test]
fn a_view_that_was_asked_for_before_a_whole_answer_came_is_dropped() {
    let mut trust = polled(FIRST, [0, 0]);
    let ticket = trust.ticket();
    trust.shown_from_postgres(&snapshot(SECOND, [9, 9]), Instant::now());

    trust.polled(ticket, standing(FIRST, [4, 4]), Instant::now());

    assert_eq!(trust.view().expect("known").epoch, SECOND);
    assert_eq!(trust.judge(&snapshot(SECOND, [8, 9])), Err(Distrust::BehindMark));
}

#[test]
fn the_age_is_that_of_the_last_question_that_was_answered() {
    let start = Instant::now();
    let mut trust = Trust::default();
    assert_eq!(trust.view_age(start), None);

    trust.polled(trust.ticket(), standing(FIRST, [0, 0]), start);
    let later = start + Duration::from_secs(3);
    assert_eq!(trust.view_age(later), Some(Duration::from_secs(3)));

    trust.shown_from_postgres(&snapshot(FIRST, [0, 0]), later);
    assert_eq!(trust.view_age(later), Some(Duration::ZERO));
}

fn polled(epoch: Uuid, offsets: [i64; 2]) -> Trust {
    let mut trust = Trust::default();
    trust.polled(trust.ticket(), standing(epoch, offsets), Instant::now());
    trust
}

fn standing(epoch: Uuid, offsets: [i64; 2]) -> Standing {
    let Snapshot { view, offsets, .. } = snapshot(epoch, offsets);
    Standing { view, offsets }
}

fn snapshot(epoch: Uuid, offsets: [i64; 2]) -> Snapshot {
    let partition = |number| CountedPartition {
        at: TopicPartition::new("ad-clicks", number),
        kind: Kind::Click,
    };
    let view = View {
        epoch,
        partitions: vec![partition(0), partition(1)],
        ads: AdId::new(1).into_iter().collect(),
    };
    Snapshot { view, offsets: offsets.to_vec(), ads: BTreeMap::new() }
}
