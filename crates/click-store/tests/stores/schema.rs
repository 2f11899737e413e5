//! The schema itself, and the rows that a partition starts with.

use std::{collections::HashSet, time::Duration};

use click_store::{Ad, Media, StoreError, TopicPartition, ads, migrations, offsets, totals};
use futures::future::join_all;
use proto_schemas::Kind;

use crate::harness::Stores;

#[tokio::test]
async fn migrations_are_applied_once() {
    let stores = Stores::empty("once").await;

    let first = migrations::migrate(&stores.url).await.unwrap();
    let second = migrations::migrate(&stores.url).await.unwrap();

    assert!(!first.is_empty());
    assert_eq!(second, Vec::<String>::new());
}

#[tokio::test]
async fn several_may_migrate_at_once() {
    let stores = Stores::empty("several").await;

    let applied = join_all((0..6).map(|_| migrations::migrate(&stores.url))).await;

    let applied: Vec<_> = applied.into_iter().map(Result::unwrap).collect();
    assert_eq!(applied.iter().filter(|it| !it.is_empty()).count(), 1, "{applied:?}");
}

#[tokio::test]
async fn every_table_and_column_says_what_it_is() {
    let stores = Stores::new("comments").await;
    let client = stores.pool.get().await.unwrap();

    // Tables of a day are copies, made by a function; their parents say it all.
    let silent = client
        .query(
            "SELECT c.relname || coalesce('.' || a.attname, '')
             FROM pg_class AS c
             JOIN LATERAL (
                 SELECT NULL::name AS attname, 0 AS attnum
                 UNION ALL
                 SELECT attname, attnum FROM pg_attribute
                 WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
             ) AS a ON true
             WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
               AND NOT c.relispartition
               AND coalesce(CASE a.attnum WHEN 0 THEN obj_description(c.oid, 'pg_class')
                                          ELSE col_description(c.oid, a.attnum) END, '') = ''
             ORDER BY 1",
            &[],
        )
        .await
        .unwrap();

    let silent: Vec<String> = silent.iter().map(|row| row.get(0)).collect();
    assert_eq!(silent, Vec::<String>::new());
}

#[tokio::test]
async fn the_first_sight_of_a_partition_makes_its_row_at_zero_and_a_new_epoch_once() {
    let stores = Stores::new("firstsight").await;
    let wanted: Vec<_> =
        (0..3).map(|it| (stores.partition(Kind::Click, it), Kind::Click)).collect();
    let before = totals::epoch(&stores.pool).await.unwrap();

    let positions = offsets::ensure(&stores.pool, &wanted).await.unwrap();
    let made = totals::epoch(&stores.pool).await.unwrap();
    let again = offsets::ensure(&stores.pool, &wanted).await.unwrap();

    assert_eq!(positions.len(), 3);
    assert!(positions.values().all(|it| it.next_offset == 0 && it.anchor.is_none()));
    assert_eq!(again, positions);
    assert_ne!(made, before);
    assert_eq!(totals::epoch(&stores.pool).await.unwrap(), made);
    let ledgers =
        "SELECT count(*) FROM partition_ledger WHERE stored + duplicates + dead + absent = 0";
    assert_eq!(stores.one::<i64>(ledgers).await, 3);
}

#[tokio::test]
async fn partitions_that_many_see_first_are_made_once() {
    let stores = Stores::new("manysee").await;
    let wanted: Vec<_> =
        (0..12).map(|it| (stores.partition(Kind::Click, it), Kind::Click)).collect();

    let seen = join_all((0..6).map(|_| offsets::ensure(&stores.pool, &wanted))).await;

    assert!(seen.into_iter().all(|it| it.unwrap().len() == 12));
    assert_eq!(stores.one::<i64>("SELECT count(*) FROM consumer_offsets").await, 12);
    assert_eq!(stores.one::<i64>("SELECT count(*) FROM partition_ledger").await, 12);
}

#[tokio::test]
async fn a_partition_that_was_counted_is_seen_where_it_stands() {
    let stores = Stores::new("counted").await;
    stores.see_partitions(1).await;
    stores.execute("UPDATE consumer_offsets SET next_offset = 41").await;
    let at = stores.partition(Kind::Click, 0);
    let before = totals::epoch(&stores.pool).await.unwrap();

    let positions = offsets::ensure(&stores.pool, &[(at.clone(), Kind::Click)]).await.unwrap();

    assert_eq!(positions[&at].next_offset, 41);
    assert_eq!(totals::epoch(&stores.pool).await.unwrap(), before);
}

#[tokio::test]
async fn a_second_topic_of_the_same_kind_is_refused() {
    let stores = Stores::new("secondtopic").await;
    stores.see_partitions(1).await;
    let other = TopicPartition::new("other-ad-clicks", 0);

    let error = offsets::ensure(&stores.pool, &[(other, Kind::Click)]).await.unwrap_err();

    assert!(matches!(error, StoreError::Setting(_)), "{error}");
}

#[tokio::test]
async fn a_view_and_a_snapshot_agree_on_everything_but_the_counts() {
    let stores = Stores::new("view").await;
    stores.see_partitions(2).await;
    stores.execute("UPDATE consumer_offsets SET next_offset = kafka_partition + 5").await;

    let standing = totals::standing(&stores.pool).await.unwrap();
    let snapshot = totals::snapshot(&stores.pool).await.unwrap();

    assert_eq!(standing.view.epoch, snapshot.view.epoch);
    assert_eq!(pairs(&standing.view, &standing.offsets), pairs(&snapshot.view, &snapshot.offsets));
    assert_eq!(standing.view.partitions.len(), 4);
    assert_eq!(snapshot.ads.len(), 3);
    assert!(snapshot.ads.values().all(|it| it.clicks == 0 && it.impressions == 0));
}

fn pairs(view: &totals::View, offsets: &[i64]) -> HashSet<(TopicPartition, i64)> {
    view.partitions.iter().map(|it| it.at.clone()).zip(offsets.iter().copied()).collect()
}

#[tokio::test]
async fn registering_an_ad_again_leaves_it_as_it_is() {
    let stores = Stores::new("again").await;
    let mut ad = crate::harness::registered(1);
    ad.target_url = "https://elsewhere.example/".to_owned();

    let added = ads::add(&stores.pool, &[ad, crate::harness::registered(9)]).await.unwrap();

    assert_eq!(added, 1);
    let listed = ads::list(&stores.pool).await.unwrap();
    assert_eq!(listed[0], crate::harness::registered(1));
    assert!(ads::set_active(&stores.pool, listed[0].id, false).await.unwrap());
    assert_eq!(ads::active(&stores.pool).await.unwrap(), listed[1..]);
    assert!(!ads::set_active(&stores.pool, crate::harness::ad_id(77), false).await.unwrap());
}

#[tokio::test]
async fn an_ad_keeps_its_title_and_its_video() {
    let stores = Stores::new("media").await;
    let media = Media {
        url: "https://ads.example/9.mp4?a=1&b=2".to_owned(),
        media_type: "video/mp4".to_owned(),
        duration: Duration::from_millis(30_040),
        width: 1280,
        height: 720,
    };
    let plain = Ad { active: false, ..crate::harness::registered(9) };
    let full = Ad { title: Some("Nine".to_owned()), media: Some(media), ..plain.clone() };
    let find = async || ads::find(&stores.pool, plain.id).await.unwrap();
    assert_eq!(find().await, None);

    assert_eq!(ads::add(&stores.pool, std::slice::from_ref(&plain)).await.unwrap(), 1);
    assert_eq!(find().await.as_ref(), Some(&plain));

    let active = Ad { active: true, ..full.clone() };
    assert_eq!(ads::add_or_update(&stores.pool, &[active]).await.unwrap(), 1);
    assert_eq!(find().await, Some(full), "whether it is active stays as it was");
}

#[tokio::test]
async fn half_a_video_is_refused() {
    let stores = Stores::new("halfmedia").await;

    let half = "UPDATE ads SET media_url = 'https://ads.example/1.mp4'";
    let error = stores.pool.get().await.unwrap().execute(half, &[]).await.unwrap_err();

    assert_eq!(error.code().unwrap().code(), "23514");
}

#[tokio::test]
async fn a_pool_for_reading_refuses_to_write_and_ends_what_takes_too_long() {
    let stores = Stores::new("readonly").await;
    let limit = Duration::from_millis(50);
    let reader = click_store::read_only_pool(&stores.url, "tests", 1, limit).unwrap();
    assert_eq!(ads::list(&reader).await.unwrap().len(), 3);

    let error = ads::add(&reader, &[crate::harness::registered(9)]).await.unwrap_err();
    assert!(error.to_string().contains("read-only"), "{error}");

    let slow = reader.get().await.unwrap().execute("SELECT pg_sleep(60)", &[]).await;
    let error = StoreError::from(slow.unwrap_err());
    assert!(error.is_timeout(), "{error}");
}

#[tokio::test]
async fn a_database_that_does_not_answer_is_said_to_refuse_the_connection() {
    let url = "postgres://ads@127.0.0.1:1/ads".into();
    let pool = click_store::pool(&url, "tests", 1).unwrap();

    let error = ads::list(&pool).await.unwrap_err().to_string();

    assert!(error.contains("Connection refused"), "{error}");
}
