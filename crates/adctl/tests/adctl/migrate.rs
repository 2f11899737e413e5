//! `adctl migrate` and `adctl epoch` against real Postgres.

use crate::harness::Test;

#[tokio::test]
async fn migrations_are_applied_once() {
    let test = Test::with_database("migrate").await;

    let first = test.adctl(&["migrate"]).await;
    let second = test.adctl(&["migrate"]).await;

    assert!(first.success().lines().all(|line| line.starts_with("applied V")), "{first:?}");
    assert_eq!(second.success(), "nothing to do: the database is up to date");
}

#[tokio::test]
async fn a_renewed_epoch_was_never_used_before() {
    let test = Test::with_database("epoch").await;
    test.adctl(&["migrate"]).await.success();

    let first = test.adctl(&["epoch", "renew", "--reason", "a test"]).await;
    let second = test.adctl(&["epoch", "renew", "--reason", "a test"]).await;

    assert!(first.success().starts_with("the epoch is now "), "{first:?}");
    assert_ne!(first.success(), second.success());
}
