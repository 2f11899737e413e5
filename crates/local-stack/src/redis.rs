//! A private Redis without persistence: what it holds can be made again from Postgres.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::StartError;
use crate::launch::Program;
use crate::place::Place;
use crate::server::{Launch, Recipe, Server, StopSignal};

/// A private Redis server.
pub type Redis = Server<RedisRecipe>;

impl Redis {
    /// What `REDIS_URL` is set to.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port())
    }
}

/// How Redis is started.
#[derive(Debug)]
pub struct RedisRecipe {
    port: u16,
}

impl Recipe for RedisRecipe {
    const NAME: &'static str = "Redis";
    const PORT_VARIABLE: &'static str = "LOCAL_REDIS_PORT";
    const READY_WITHIN: Duration = Duration::from_secs(30);
    const PORT_TAKEN: &'static str = "Address already in use";
    const STOP: StopSignal = StopSignal::Terminate;

    async fn prepare(place: &Place, port: u16) -> Result<(Self, Launch), StartError> {
        std::fs::create_dir_all(&place.data)
            .map_err(StartError::file("folder could not be made", &place.data))?;

        let program = Program::installed("redis-server", "or set REDIS_URL to a Redis that runs")?
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--dir"])
            .arg(&place.data)
            .args(["--save", "", "--appendonly", "no"])
            .args(["--maxmemory-policy", "noeviction", "--daemonize", "no"]);
        Ok((Self { port }, Launch(program)))
    }

    async fn probe(&self) -> Result<(), String> {
        /// A loaded machine answers late, a stopped one never.
        const LIMIT: Duration = Duration::from_secs(2);
        match timeout(LIMIT, ping(self.port)).await {
            Ok(Ok(answer)) if answer.starts_with(b"+PONG") => Ok(()),
            Ok(Ok(answer)) => Err(String::from_utf8_lossy(&answer).trim().to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_elapsed) => Err("no answer to PING".to_owned()),
        }
    }
}

async fn ping(port: u16) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.write_all(b"PING\r\n").await?;
    let mut answer = vec![0; 128];
    let read = stream.read(&mut answer).await?;
    answer.truncate(read);
    Ok(answer)
}
