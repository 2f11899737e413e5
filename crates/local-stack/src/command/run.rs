//! `local-stack run`, which is `make run`: the whole pipeline on this machine, with real traffic.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use local_stack::children;
use local_stack::prometheus::Prometheus;
use local_stack::stack::Stack;
use service_kit::shutdown::Signals;

use self::sample::Replay;
use self::services::Services;
use super::say;
use super::stores::{Addresses, Stores};

mod guide;
mod lag;
mod monitoring;
mod outcome;
mod sample;
mod services;
mod supervisor;
mod tally;

/// How long a service may take to answer what is in flight: longer than its own limit of 25 s.
const SERVICE_GRACE: Duration = Duration::from_secs(30);

/// The pipeline to run.
#[derive(Args, Debug)]
#[command(
    about = "Run the whole pipeline, replay the sample, and stay up until Ctrl-C",
    long_about = "Run the whole pipeline, replay the sample, and stay up until Ctrl-C\n\n\
        Starts the stores that are not given, makes the topics, starts the three services, loads \
        the ads of data/ads.csv, replays a file through HTTP and compares what was counted with \
        what the file says. A store or service that dies is started again. Services take their \
        settings from the environment; unset ones get values that suit one machine."
)]
pub(crate) struct Run {
    #[command(flatten)]
    stores: Stores,
    /// A CSV file to replay, or `none` [default: the sample in data/]
    #[arg(long, env = "REPLAY", value_name = "FILE")]
    replay: Option<OsString>,
    #[command(flatten)]
    monitoring: monitoring::Monitoring,
}

impl Run {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        let mut signals = Signals::catch()?;
        children::adopt_orphans();
        let begun = Instant::now();

        let plans = services::Plans::new(&self.stores.folder())?;
        plans.check_ports()?;
        say::progress("starting the stores");
        // The start may be dropped at any await: whatever runs dies with its handle.
        let (mut stack, addresses) = tokio::select! {
            started = self.stores.start() => started?,
            _ = signals.next() => return Ok(ExitCode::SUCCESS),
        };

        say::progress("starting the services");
        let mut services = tokio::select! {
            services = Services::start(&plans, &addresses) => services?,
            _ = signals.next() => return Ok(ExitCode::SUCCESS),
        };
        let folder = self.stores.folder();
        let mut prometheus = tokio::select! {
            started = self.monitoring.start(&plans, &folder) => started?,
            _ = signals.next() => return Ok(ExitCode::SUCCESS),
        };
        let prometheus_url = prometheus.as_ref().map(Prometheus::url);
        say::progress(&format!("up after {:.1} s", begun.elapsed().as_secs_f64()));

        // The first two arms end only with an error, and any may be dropped at any await.
        let outcome = tokio::select! {
            never = supervisor::watch(&mut stack, &mut services, prometheus.as_mut()) => match never {},
            shown = self.show(&plans, &addresses, prometheus_url.as_deref()) => shown,
            signal = signals.next() => {
                say::progress(&format!("{signal}: stopping"));
                Ok(())
            }
        };

        // A second Ctrl-C cuts the stopping short: what is left is killed.
        tokio::select! {
            () = stop(services, &mut stack, prometheus.as_mut()) => {}
            _ = signals.next() => {}
        }
        drop(stack);
        drop(prometheus);
        children::kill_all();
        outcome.map(|()| ExitCode::SUCCESS)
    }

    /// Shows that it works, and then waits to be dropped. Fails only where there is nothing to show.
    async fn show(
        &self,
        plans: &services::Plans,
        addresses: &Addresses,
        prometheus: Option<&str>,
    ) -> anyhow::Result<()> {
        let file = match &self.replay {
            None => Some(sample::default_file()),
            Some(text) if text == "none" => None,
            // Left empty, as in a `.env` file that nobody filled in.
            Some(text) if text.is_empty() => Some(sample::default_file()),
            Some(text) => Some(PathBuf::from(text)),
        };
        let sample = Replay::new(plans, addresses, self.stores.topic_prefix());

        // The pipeline is up all the same, so a sample that fails is told and not the end.
        if let Err(error) = sample.run(file.as_deref()).await {
            say::problem(&error);
        }
        say::result(&guide::text(plans, addresses, prometheus, &self.stores.folder()));
        std::future::pending().await
    }
}

/// Services first, so that none of them sees a store go.
async fn stop(mut services: Services, stack: &mut Stack, prometheus: Option<&mut Prometheus>) {
    services.stop(SERVICE_GRACE).await;
    stack.stop().await;
    if let Some(prometheus) = prometheus {
        prometheus.stop().await;
    }
}
