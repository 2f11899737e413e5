//! A private Redis without persistence: what it holds can be made again from Postgres.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use click_store::{RedisLimits, StoreError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::StartError;
use crate::launch::Program;
use crate::place::Place;
use crate::secured::{Demands, User};
use crate::server::{Launch, Recipe, Server, StopSignal};

/// A private Redis server.
pub type Redis = Server<RedisRecipe>;

impl Redis {
    /// What `REDIS_URL` is set to.
    pub fn url(&self) -> String {
        url(self.port(), self.place().demands.as_deref().map(Demands::admin))
    }

    /// The same for a user of its own.
    pub fn url_of(&self, user: &User) -> String {
        url(self.port(), Some(user))
    }
}

fn url(port: u16, user: Option<&User>) -> String {
    match user {
        None => format!("redis://127.0.0.1:{port}"),
        Some(User { name, password, .. }) => {
            format!("rediss://{name}:{password}@127.0.0.1:{port}")
        }
    }
}

/// How Redis is started.
#[derive(Debug)]
pub struct RedisRecipe {
    port: u16,
    demands: Option<Arc<Demands>>,
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
            .args(["--bind", "127.0.0.1", "--dir"])
            .arg(&place.data)
            .args(door(place, port)?)
            .args(["--save", "", "--appendonly", "no"])
            .args(["--maxmemory-policy", "noeviction", "--daemonize", "no"]);
        Ok((Self { port, demands: place.demands.clone() }, Launch(program)))
    }

    async fn probe(&self) -> Result<(), String> {
        /// A loaded machine answers late, a stopped one never.
        const LIMIT: Duration = Duration::from_secs(2);
        if let Some(demands) = &self.demands {
            return let_in(self.port, demands, LIMIT).await.map_err(|it| it.to_string());
        }
        match timeout(LIMIT, ping(self.port)).await {
            Ok(Ok(answer)) if answer.starts_with(b"+PONG") => Ok(()),
            Ok(Ok(answer)) => Err(String::from_utf8_lossy(&answer).trim().to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_elapsed) => Err("no answer to PING".to_owned()),
        }
    }
}

/// Where it lets clients in, and whom.
fn door(place: &Place, port: u16) -> Result<Vec<OsString>, StartError> {
    let port = OsString::from(port.to_string());
    let Some(demands) = &place.demands else { return Ok(vec!["--port".into(), port]) };
    let (certificate, key) = demands.write_certificate(&place.data)?;
    let (users, mut text) = (place.data.join("users.acl"), "user default off\n".to_owned());
    for User { name, password, rules } in &demands.users {
        writeln!(text, "user {name} on >{password} {rules}").ok();
    }
    std::fs::write(&users, text)
        .map_err(StartError::file("configuration could not be written", &users))?;
    Ok([
        ("--port", "0".into()),
        ("--tls-port", port),
        ("--tls-cert-file", certificate.into()),
        ("--tls-key-file", key.into()),
        ("--tls-ca-cert-file", demands.ca_file.clone().into()),
        ("--tls-auth-clients", "no".into()),
        ("--aclfile", users.into()),
    ]
    .into_iter()
    .flat_map(|(name, value)| [name.into(), value])
    .collect())
}

async fn let_in(port: u16, demands: &Demands, limit: Duration) -> Result<(), StoreError> {
    let url = url(port, Some(demands.admin())).into();
    let limits = RedisLimits { command: limit };
    click_store::Redis::connect(&url, Some(&demands.ca_file), "probe", limits)?.ping().await
}

async fn ping(port: u16) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.write_all(b"PING\r\n").await?;
    let mut answer = vec![0; 128];
    let read = stream.read(&mut answer).await?;
    answer.truncate(read);
    Ok(answer)
}
