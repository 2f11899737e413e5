//! A private Postgres: its own data folder, one superuser `ads` without a password, loopback only.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use click_store::StoreError;
use nix::unistd::{Gid, Uid};
use tokio::time::timeout;
use tokio_postgres::error::SqlState;

use crate::StartError;
use crate::launch::Program;
use crate::place::Place;
use crate::secured::Demands;
use crate::server::{Launch, Recipe, Server, StopSignal};

mod leftover;
mod owner;

/// The superuser, and the database that is made for it.
const NAME: &str = "ads";

const INSTALLED_ELSEWHERE: &str = "or set DATABASE_URL to a Postgres that runs";

/// A private Postgres server.
pub type Postgres = Server<PostgresRecipe>;

impl Postgres {
    /// What `DATABASE_URL` is set to.
    pub fn url(&self) -> String {
        url(self.port(), NAME, self.place().demands.as_deref())
    }

    /// The same for a user of its own, where it demands a password.
    pub fn url_of(&self, name: &str, password: &str) -> String {
        let url = self.url();
        let (_, server) = url.split_once('@').unwrap_or_default();
        format!("postgres://{name}:{password}@{server}")
    }

    /// Where the data really is: elsewhere than asked for where Postgres could not reach that.
    pub fn data(&self) -> &Path {
        &self.recipe().data
    }
}

/// How Postgres is started.
#[derive(Debug)]
pub struct PostgresRecipe {
    port: u16,
    data: PathBuf,
    demands: Option<Arc<Demands>>,
}

impl Recipe for PostgresRecipe {
    const NAME: &'static str = "Postgres";
    const PORT_VARIABLE: &'static str = "LOCAL_POSTGRES_PORT";
    // Recovery after a kill replays up to `max_wal_size`.
    const READY_WITHIN: Duration = Duration::from_mins(2);
    const PORT_TAKEN: &'static str = "Address already in use";
    // "Fast": roll back, disconnect everybody and write a checkpoint.
    const STOP: StopSignal = StopSignal::Interrupt;

    async fn prepare(place: &Place, port: u16) -> Result<(Self, Launch), StartError> {
        let bin = binaries()?;
        let (data, user) = owner::settle(&place.data)?;
        if !data.join("PG_VERSION").exists() {
            let password = place.demands.as_deref().map(|it| it.admin().password.as_str());
            initialise(&bin, &data, user, place.durable, password)?;
        }
        if let Some(demands) = &place.demands {
            secure(&data, user, demands)?;
        }
        leftover::clear(&data);

        let program = Program::new(bin.join("postgres"))
            .arg("-D")
            .arg(&data)
            .args(settings(port, place).iter().flat_map(|it| ["-c", it.as_str()]))
            .env("LC_ALL", "C")
            .user(user);
        Ok((Self { port, data, demands: place.demands.clone() }, Launch(program)))
    }

    async fn probe(&self) -> Result<(), String> {
        /// Longer than a connection takes on a loaded machine.
        const LIMIT: Duration = Duration::from_secs(5);
        timeout(LIMIT, connect_or_create(self.port, self.demands.as_deref()))
            .await
            .map_err(|_elapsed| "no answer to a connection".to_owned())?
            .map_err(|error| error.to_string())
    }
}

/// A program that comes with the server, such as `pgbench`.
///
/// # Errors
///
/// Where no server is installed, or one without this program.
pub fn program(name: &str) -> Result<PathBuf, StartError> {
    let program = binaries()?.join(name);
    if program.exists() {
        return Ok(program);
    }
    Err(StartError::NotInstalled { what: name.to_owned(), or_else: "or install what has it" })
}

/// Runs statements on a connection of their own; each statement is a transaction of its own.
pub(crate) async fn execute(url: &str, statements: &[&str]) -> Result<(), StoreError> {
    let (client, _connection) = click_store::connect(&url.into(), "local-stack").await?;
    for statement in statements {
        client.batch_execute(statement).await?;
    }
    Ok(())
}

fn url(port: u16, database: &str, demands: Option<&Demands>) -> String {
    match demands {
        None => format!("postgres://{NAME}@127.0.0.1:{port}/{database}"),
        Some(demands) => format!(
            "postgres://{NAME}:{}@127.0.0.1:{port}/{database}?sslmode=verify-full&sslrootcert={}",
            demands.admin().password,
            demands.ca_file.display()
        ),
    }
}

/// Connects, and makes the database at the first start.
async fn connect_or_create(port: u16, demands: Option<&Demands>) -> Result<(), StoreError> {
    match execute(&url(port, NAME, demands), &[]).await {
        Err(StoreError::Postgres(error))
            if error.code() == Some(&SqlState::INVALID_CATALOG_NAME) =>
        {
            let statement = format!("CREATE DATABASE {NAME}");
            execute(&url(port, "postgres", demands), &[&statement]).await
        }
        other => other,
    }
}

/// Lets in only who speaks TLS and has a password.
fn secure(data: &Path, user: Option<(Uid, Gid)>, demands: &Demands) -> Result<(), StartError> {
    let (certificate, key) = demands.write_certificate(data)?;
    let rules = data.join("pg_hba.conf");
    std::fs::write(&rules, "hostssl all all 127.0.0.1/32 scram-sha-256\n")
        .map_err(StartError::file("configuration could not be written", &rules))?;
    for file in [certificate, key, rules] {
        give_to(user, &file)?;
    }
    Ok(())
}

/// Makes a file the server's own, which it wants nobody else to read.
fn give_to(user: Option<(Uid, Gid)>, file: &Path) -> Result<(), StartError> {
    let wrong = || StartError::file("file could not be given to Postgres", file);
    std::fs::set_permissions(file, Permissions::from_mode(0o600)).map_err(wrong())?;
    match user {
        Some((user, group)) => {
            chown(file, Some(user.as_raw()), Some(group.as_raw())).map_err(wrong())
        }
        None => Ok(()),
    }
}

fn initialise(
    bin: &Path,
    data: &Path,
    user: Option<(Uid, Gid)>,
    durable: bool,
    password: Option<&str>,
) -> Result<(), StartError> {
    let mut program = Program::new(bin.join("initdb"))
        .arg("-D")
        .arg(data)
        .args(["--username", NAME, "--encoding", "UTF8", "--locale", "C", "--auth", "trust"])
        .env("LC_ALL", "C")
        .user(user);
    if !durable {
        program = program.arg("--no-sync");
    }
    let password_file = data.with_extension("password");
    if let Some(password) = password {
        std::fs::write(&password_file, password)
            .map_err(StartError::file("password could not be written", &password_file))?;
        give_to(user, &password_file)?;
        program = program.arg("--pwfile").arg(&password_file);
    }

    let output =
        program.output().map_err(StartError::file("initdb could not be run", &bin.join("initdb")));
    drop(std::fs::remove_file(&password_file));
    let output = output?;
    if output.status.success() {
        return Ok(());
    }
    Err(StartError::Preparing {
        what: format!("initdb could not make {}", data.display()),
        output: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

fn settings(port: u16, place: &Place) -> Vec<String> {
    let mut settings = vec![
        "listen_addresses=127.0.0.1".to_owned(),
        format!("port={port}"),
        // TCP only: the path of a socket may have 107 bytes, and a clone may be deeper than that.
        "unix_socket_directories=".to_owned(),
        "shared_buffers=256MB".to_owned(),
        "max_wal_size=2GB".to_owned(),
        "max_connections=200".to_owned(),
        "synchronous_commit=on".to_owned(),
        "timezone=UTC".to_owned(),
        "log_timezone=UTC".to_owned(),
        // Tests make statements fail on purpose; their texts would bury what matters.
        "log_min_error_statement=panic".to_owned(),
    ];
    if place.demands.is_some() {
        // With the files that `secure` has written.
        settings.push("ssl=on".to_owned());
    }
    if !place.durable {
        // A killed server loses nothing by these; only a loss of power would.
        settings.extend(["fsync=off".to_owned(), "full_page_writes=off".to_owned()]);
    }
    settings
}

/// The folder of the newest server that is installed.
fn binaries() -> Result<PathBuf, StartError> {
    const OLDEST: u32 = 15;

    let named = Command::new("pg_config").arg("--bindir").output();
    let named = named.ok().filter(|it| it.status.success());
    let named = named.map(|it| PathBuf::from(String::from_utf8_lossy(&it.stdout).trim()));
    // Debian and Red Hat keep a folder for each version.
    let mut found: Vec<(u32, PathBuf)> = ["/usr/lib/postgresql", "/usr"]
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten().flatten())
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = name.strip_prefix("pgsql-").unwrap_or(&name).parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .filter(|(version, bin)| *version >= OLDEST && bin.join("initdb").exists())
        .collect();
    found.sort();

    let newest = found.pop().map(|(_, bin)| bin);
    newest.or(named.filter(|bin| bin.join("initdb").exists())).ok_or_else(|| {
        StartError::NotInstalled {
            what: format!("a PostgreSQL server of version {OLDEST} or later"),
            or_else: INSTALLED_ELSEWHERE,
        }
    })
}
