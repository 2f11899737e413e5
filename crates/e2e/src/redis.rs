//! A Redis of a test's own, and what may happen to it.

use local_stack::{Place, redis::Redis};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Starts a Redis that no other test uses.
pub async fn start() -> Redis {
    let place = Place::temporary().expect("a temporary folder");
    Redis::start(place).await.expect("redis starts")
}

/// Forgets everything that it holds.
pub async fn flush(redis: &Redis) {
    tell(redis, "FLUSHALL").await;
}

/// Sends a command that is answered with OK.
pub async fn tell(redis: &Redis, command: &str) {
    let address = ("127.0.0.1", redis.port());
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(format!("{command}\r\n").as_bytes()).await.expect("sent");
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"+OK\r\n", "{command}");
}
