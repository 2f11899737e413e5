//! One of the pipeline's services as a process: started, awaited, stopped and started again.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};

use crate::StartError;
use crate::error::LogTail;
use crate::launch::Program;
use crate::process::{POLL, Process};
use crate::server::keep_one_older;

/// How long a service may take to be ready: it may have to migrate a database, or to wait for Kafka.
const READY_WITHIN: Duration = Duration::from_mins(2);

/// How a service is run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub name: &'static str,
    pub binary: PathBuf,
    /// Set in addition to what this process has.
    pub environment: Vec<(&'static str, String)>,
    /// Where it answers `/readyz`.
    pub admin: SocketAddr,
    /// Everything it says, on both of its outputs.
    pub log: PathBuf,
    pub pid_file: PathBuf,
}

/// A service that was started. Dropping it kills it.
#[derive(Debug)]
pub struct Service {
    plan: Plan,
    process: Option<Process>,
}

impl Service {
    /// Starts it, and does not wait for it.
    pub fn start(plan: Plan) -> Result<Self, StartError> {
        // Where no store is started, nobody else has made them.
        for folder in [&plan.log, &plan.pid_file].into_iter().filter_map(|it| it.parent()) {
            std::fs::create_dir_all(folder)
                .map_err(StartError::file("folder could not be made", folder))?;
        }
        keep_one_older(&plan.log);
        let mut service = Self { plan, process: None };
        service.restart()?;
        Ok(service)
    }

    /// Starts it again in the same way, killing it first where it runs.
    pub fn restart(&mut self) -> Result<(), StartError> {
        self.kill();
        let Plan { name, binary, environment, log, pid_file, .. } = &self.plan;
        if !binary.exists() {
            return Err(StartError::NotBuilt { name, binary: binary.clone() });
        }
        let program = environment
            .iter()
            .fold(Program::new(binary), |program, (name, value)| program.env(name, value));
        let process = Process::spawn(&program, log, pid_file.clone())
            .map_err(StartError::file("service could not be started", binary))?;
        self.process = Some(process);
        Ok(())
    }

    /// Waits until it says that it is ready.
    pub async fn ready(&mut self) -> Result<(), StartError> {
        let deadline = Instant::now() + READY_WITHIN;
        let url = format!("http://{}/readyz", self.plan.admin);
        loop {
            if let Some(status) = self.exited() {
                let log = LogTail::of(&self.plan.log);
                return Err(StartError::Exited { server: self.plan.name, status, log });
            }
            match ask(&url).await {
                Ok(()) => return Ok(()),
                Err(last) if Instant::now() > deadline => {
                    return Err(StartError::NotReady {
                        server: self.plan.name,
                        limit: READY_WITHIN,
                        last,
                        log: LogTail::of(&self.plan.log),
                    });
                }
                Err(_not_yet) => sleep(POLL).await,
            }
        }
    }

    /// Asks it to stop, and kills it where it has not after `grace`.
    pub async fn stop(&mut self, grace: Duration) {
        if let Some(process) = self.process.take() {
            process.stop(Signal::SIGTERM, grace).await;
        }
    }

    /// Kills it, as `kill -9` does.
    pub fn kill(&mut self) {
        drop(self.process.take());
    }

    /// How it ended, if it has ended by itself.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.process.as_mut().and_then(Process::exited)
    }

    /// Its process id, or `None` where it was stopped or killed.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// How it is run.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}

/// Fails where another program listens on `address`, naming the setting that changes it.
pub fn check_free(
    address: SocketAddr,
    service: &'static str,
    variable: &'static str,
) -> Result<(), StartError> {
    match TcpListener::bind(address) {
        Ok(_free) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            let port = address.port();
            Err(StartError::PortInUse { server: service, port, variable })
        }
        // An address that is not this machine's, for example: the service says so itself.
        Err(_other) => Ok(()),
    }
}

pub(crate) async fn ask(url: &str) -> Result<(), String> {
    const LIMIT: Duration = Duration::from_secs(5);
    let client = reqwest::Client::builder().no_proxy().timeout(LIMIT).build();
    let answer = async { client?.get(url).send().await };
    let answer = answer.await.map_err(|error| error.to_string())?;
    if answer.status().is_success() {
        return Ok(());
    }
    let reasons = answer.text().await.unwrap_or_default();
    Err(reasons.trim().to_owned())
}
