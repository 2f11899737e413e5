//! Redis is a projection: whatever happens to it, it says what Postgres says again.

use std::net::Ipv4Addr;

use click_store::{TopicPartition, projection::Advance, totals};
use local_stack::{place::Place, redis::Redis};
use proto_schemas::{AdId, Kind};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::{Pipeline, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_written_anew_without_traffic_after_it_was_emptied() {
    let redis = Redis::start(Place::temporary().expect("a folder")).await.expect("redis starts");
    let mut test = Pipeline::with_redis("emptied", 3, &redis.url()).await;
    let consumer = test.start_consumer();
    test.send_clicks(0..25).await;
    test.settle(25).await;

    tell(redis.port(), "FLUSHALL").await;
    test.redis_agrees().await;
    tell(redis.port(), "SCRIPT FLUSH").await;
    test.send_clicks(25..40).await;
    test.settle(40).await;

    test.stop(consumer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn counting_goes_on_while_redis_is_away_and_redis_catches_up() {
    let mut redis = Redis::start(Place::temporary().expect("a folder")).await.expect("starts");
    let mut test = Pipeline::with_redis("away", 2, &redis.url()).await;
    let consumer = test.start_consumer();
    test.send_clicks(0..10).await;
    test.settle(10).await;

    redis.kill();
    test.send_clicks(10..50).await;
    eventually("postgres counted on", async || {
        test.number("SELECT count(*) FROM clicks").await == 50
    })
    .await;
    redis.restart().await.expect("redis starts again");
    test.settle(50).await;

    test.stop(consumer).await;
}

/// Sends one command and waits for its answer.
async fn tell(port: u16, command: &str) {
    let mut redis = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("connected");
    redis.write_all(format!("{command}\r\n").as_bytes()).await.expect("sent");
    let mut answer = [0; 5];
    redis.read_exact(&mut answer).await.expect("answered");
    assert_eq!(&answer, b"+OK\r\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_epoch_makes_every_owner_write_its_partitions_anew() {
    let mut test = Pipeline::new("epoch", 3).await;
    let consumer = test.start_consumer();
    test.send_clicks(0..25).await;
    test.settle(25).await;

    test.renew_epoch().await;
    test.redis_agrees().await;

    test.stop(consumer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_ahead_of_postgres_in_the_same_epoch_is_not_believed_again() {
    let mut test = Pipeline::new("ahead", 1).await;
    let consumer = test.start_consumer();
    test.send_clicks(0..5).await;
    test.settle(5).await;
    let before = totals::view(&test.pool).await.expect("a view");

    // What Redis would hold had Postgres lost its last commits.
    let ahead = Advance {
        at: TopicPartition::new(test.scope.topics().of(Kind::Click), 0),
        epoch: before.epoch,
        expected: 5,
        new: 9,
        increments: vec![(AdId::new(1).expect("in range"), 4)],
    };
    test.projection.advance(&ahead).await.expect("redis answers");

    eventually("the epoch is another one", async || {
        totals::view(&test.pool).await.expect("a view").epoch != before.epoch
    })
    .await;
    test.redis_agrees().await;
    test.stop(consumer).await;
}
