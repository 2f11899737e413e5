//! A private server: started, waited for, stopped, killed and started again in the same place.

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};

use crate::StartError;
use crate::error::LogTail;
use crate::launch::Program;
use crate::place::{Place, Port, choose_port};
use crate::process::{Claim, POLL, Process};

/// How many free ports are tried: somebody else may take one between the look and the start.
const PORT_ATTEMPTS: usize = 3;

/// How long a server may take to stop before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(20);

/// What one kind of server does differently from the others.
pub trait Recipe: fmt::Debug + Send + Sized + Sync {
    const NAME: &'static str;
    /// The variable that chooses another port.
    const PORT_VARIABLE: &'static str;
    /// How long it may take until it answers. Generous: several builds may share the machine.
    const READY_WITHIN: Duration;
    /// What its log says when another process has taken its port.
    const PORT_TAKEN: &'static str;
    /// What makes it stop in good order.
    const STOP: StopSignal;

    /// Makes the data folder ready for a start on `port`.
    fn prepare(
        place: &Place,
        port: u16,
    ) -> impl Future<Output = Result<(Self, Launch), StartError>> + Send;

    /// Asks whether it serves; the error says what is still missing.
    fn probe(&self) -> impl Future<Output = Result<(), String>> + Send;
}

/// How to start a server that is prepared.
#[derive(Debug)]
pub struct Launch(pub(crate) Program);

/// The signal that asks a server to stop.
#[derive(Clone, Copy, Debug)]
pub enum StopSignal {
    Interrupt,
    Terminate,
}

/// A server of this machine that is ours alone. Dropping it kills it.
#[derive(Debug)]
pub struct Server<R: Recipe> {
    // Before `place`: the process ends before its temporary folder goes.
    process: Option<Process>,
    recipe: R,
    port: u16,
    claim: Claim,
    place: Place,
}

impl<R: Recipe> Server<R> {
    /// Starts it, and returns when it answers.
    pub async fn start(place: Place) -> Result<Self, StartError> {
        let claim = Claim::take(&place.data)?;
        if let Some(folder) = place.log.parent() {
            std::fs::create_dir_all(folder)
                .map_err(StartError::file("folder could not be made", folder))?;
        }
        keep_one_older(&place.log);

        let mut attempts = PORT_ATTEMPTS;
        loop {
            attempts -= 1;
            let port = choose_port(place.port, R::NAME, R::PORT_VARIABLE)?;
            match launch::<R>(&place, &claim, port).await {
                Ok((recipe, process)) => {
                    return Ok(Self { process: Some(process), recipe, port, claim, place });
                }
                Err(StartError::Exited { log, .. })
                    if place.port == Port::Free && attempts > 0 && log.contains(R::PORT_TAKEN) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Starts it again after [`stop`](Self::stop), [`kill`](Self::kill) or its own end: with the
    /// same data, on the same port.
    pub async fn restart(&mut self) -> Result<(), StartError> {
        self.kill();
        choose_port(Port::Fixed(self.port), R::NAME, R::PORT_VARIABLE)?;
        let (recipe, process) = launch::<R>(&self.place, &self.claim, self.port).await?;
        self.recipe = recipe;
        self.process = Some(process);
        Ok(())
    }

    /// Stops it in good order.
    pub async fn stop(&mut self) {
        if let Some(process) = self.process.take() {
            let signal = match R::STOP {
                StopSignal::Interrupt => Signal::SIGINT,
                StopSignal::Terminate => Signal::SIGTERM,
            };
            process.stop(signal, STOP_GRACE).await;
        }
    }

    /// Kills it, as `kill -9` does.
    pub fn kill(&mut self) {
        drop(self.process.take());
    }

    /// Its process id, or `None` where it was stopped or killed.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Tells whether it runs, which it does not after a crash.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|it| it.exited().is_none())
    }

    /// The port it listens on, which a restart keeps.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it lives.
    pub fn place(&self) -> &Place {
        &self.place
    }

    pub(crate) fn recipe(&self) -> &R {
        &self.recipe
    }
}

/// Begins a new log, so that logs do not grow from start to start.
pub(crate) fn keep_one_older(log: &Path) {
    let mut older = log.as_os_str().to_owned();
    older.push(".1");
    // At the first start there is nothing to keep.
    drop(std::fs::rename(log, older));
}

async fn launch<R: Recipe>(
    place: &Place,
    claim: &Claim,
    port: u16,
) -> Result<(R, Process), StartError> {
    let (recipe, Launch(program)) = R::prepare(place, port).await?;
    let mut process = Process::spawn(&program, &place.log, claim.pid_file())
        .map_err(StartError::file("server could not be started with its log at", &place.log))?;

    let deadline = Instant::now() + R::READY_WITHIN;
    loop {
        if let Some(status) = process.exited() {
            let log = LogTail::of(&place.log);
            return Err(StartError::Exited { server: R::NAME, status, log });
        }
        // Boxed, because a TLS handshake is large, and would be part of every future around it.
        match Box::pin(recipe.probe()).await {
            Ok(()) => return Ok((recipe, process)),
            Err(last) if Instant::now() > deadline => {
                return Err(StartError::NotReady {
                    server: R::NAME,
                    limit: R::READY_WITHIN,
                    last,
                    log: LogTail::of(&place.log),
                });
            }
            Err(_not_yet) => sleep(POLL).await,
        }
    }
}
