//! A Postgres of a test's own, and how it crashes.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use local_stack::{Place, postgres::Postgres};
use nix::sys::signal::Signal;

use crate::{process::signal, wait::until};

/// Starts a Postgres that no other test uses.
pub async fn start() -> Postgres {
    let place = Place::temporary().expect("a temporary folder");
    Postgres::start(place).await.expect("postgres starts")
}

/// Lets it crash as `pg_ctl stop -m immediate` does: no checkpoint, the next start has to recover.
pub async fn crash(postgres: &mut Postgres) {
    signal(postgres, Signal::SIGQUIT);
    until("postgres has crashed", async || !postgres.is_running()).await;
}

/// A copy of the data folder of a Postgres that is stopped; removed with its temporary place.
#[derive(Debug)]
pub struct Backup(PathBuf);

impl Backup {
    /// Makes one.
    pub fn of(postgres: &Postgres) -> Self {
        let copy = postgres.data().with_extension("backup");
        run("cp", &["-a".as_ref(), postgres.data(), &copy]);
        Self(copy)
    }

    /// Puts it in the place of the data that is there now.
    pub fn restore(self, postgres: &Postgres) {
        run("rm", &["-rf".as_ref(), postgres.data()]);
        run("mv", &[&self.0, postgres.data()]);
    }
}

fn run(program: &str, args: &[&Path]) {
    let status = Command::new(program).args(args).status().expect(program);
    assert!(status.success(), "{program} {args:?}");
}
