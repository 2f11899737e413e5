//! A service's main: settings, logs, runtime, signals, and then the service itself.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::ready::{self, AdminPort};
use crate::settings::groups::{Logs, Shutdown};
use crate::settings::{Env, Settings, Vars, help_text};
use crate::shutdown::Signals;
use crate::telemetry;
use crate::traces::{self, Outlet, Traces};

/// How long blocking work that outlived the service is waited for.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// How long the last spans may take to be exported, where `SHUTDOWN_TIMEOUT` leaves as much.
const LAST_SPANS: Duration = Duration::from_secs(5);

/// Who a process is. Made by [`service!`](crate::service!).
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// The binary's name.
    pub name: &'static str,
    /// The release.
    pub version: &'static str,
    /// What it does, in one sentence.
    pub about: &'static str,
}

/// Makes a [`Service`] of the calling crate's manifest.
#[macro_export]
macro_rules! service {
    () => {
        $crate::Service {
            name: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            about: env!("CARGO_PKG_DESCRIPTION"),
        }
    };
}

/// Runs a service to its end; the whole of its main.
///
/// Answers `--help`, `--version` and `--ready` (asks the process that runs with the same settings;
/// 0 where it is ready, else 1). Otherwise reads the settings (where they are wrong, all problems
/// go to standard error and the exit code is 2), sets up logs by `LOG_FORMAT` and `LOG_LEVEL`,
/// traces by the `OTEL_` variables, and calls `run` with a token that SIGTERM or SIGINT cancels. A
/// second signal ends the process without waiting for `run`. The last spans are exported when `run`
/// has returned, within what is left of `SHUTDOWN_TIMEOUT`.
///
/// The exit code is 0 where `run` returned without an error, and 1 where not.
pub fn main_with<C, F, Fut>(service: Service, run: F) -> ExitCode
where
    C: Settings + AdminPort,
    F: FnOnce(C, CancellationToken) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let args: Vec<_> = std::env::args_os().skip(1).map(|arg| arg.display().to_string()).collect();
    match start::<C>(service, &args, &Env::from_process()) {
        Start::Print(text) => {
            print(&text);
            ExitCode::SUCCESS
        }
        Start::Refuse(text) => {
            complain(&text);
            ExitCode::from(2)
        }
        Start::Ask(admin) => match ready::ask(admin) {
            Ok(()) => ExitCode::SUCCESS,
            Err(reasons) => {
                complain(&format!("{} is not ready:\n{reasons}", service.name));
                ExitCode::FAILURE
            }
        },
        Start::Run(settings) => run_to_end(service, *settings, run),
    }
}

/// The service's settings, and those that main itself needs.
struct WithMains<C> {
    logs: Logs,
    traces: Traces,
    shutdown: Shutdown,
    own: C,
}

impl<C: Settings> Settings for WithMains<C> {
    fn read(vars: &mut Vars) -> Self {
        let own = C::read(vars);
        let logs = Logs::read(vars);
        Self { own, logs, traces: Traces::read(vars), shutdown: Shutdown::read(vars) }
    }
}

/// What the arguments and the settings amount to.
enum Start<C> {
    Print(String),
    Refuse(String),
    Ask(SocketAddr),
    Run(Box<WithMains<C>>),
}

fn start<C: Settings + AdminPort>(service: Service, args: &[String], env: &Env) -> Start<C> {
    let Service { name, version, about } = service;
    let read = |then: fn(WithMains<C>) -> Start<C>| match env.read() {
        Ok(settings) => then(settings),
        Err(invalid) => {
            Start::Refuse(format!("{name} cannot start:\n{invalid}\n(see {name} --help)"))
        }
    };
    match args {
        [] => read(|settings| Start::Run(Box::new(settings))),
        [flag] if flag == "--ready" => read(|settings| Start::Ask(settings.own.admin_listen())),
        [flag] if flag == "--help" || flag == "-h" => {
            Start::Print(help_text::<WithMains<C>>(name, about))
        }
        [flag] if flag == "--version" || flag == "-V" => Start::Print(format!("{name} {version}")),
        _ => Start::Refuse(format!("{name} takes no arguments (see {name} --help)")),
    }
}

fn run_to_end<C, F, Fut>(service: Service, settings: WithMains<C>, run: F) -> ExitCode
where
    F: FnOnce(C, CancellationToken) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    if let Err(error) = telemetry::init(&settings.logs) {
        complain(&format!("logs could not be set up: {error}"));
        return ExitCode::FAILURE;
    }
    let spans = match traces::init(service, &settings.traces) {
        Ok(spans) => spans,
        Err(error) => {
            error!(error = format!("{error:#}"), "traces could not be set up");
            return ExitCode::FAILURE;
        }
    };
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            error!(%error, "runtime could not be started");
            return ExitCode::FAILURE;
        }
    };

    info!(service.name = service.name, service.version = service.version, "starting");
    let ended =
        runtime.block_on(until_end_or_second_signal(|shutdown| run(settings.own, shutdown)));
    match ended {
        Ended::Itself(ended, asked) => {
            let code = match ended {
                Ok(()) => {
                    info!("stopped");
                    ExitCode::SUCCESS
                }
                Err(error) => {
                    error!(error = format!("{error:#}"), "stopped by an error");
                    ExitCode::FAILURE
                }
            };
            close(spans, settings.shutdown, asked);
            runtime.shutdown_timeout(LAST_WAIT);
            code
        }
        Ended::BySignal(signal) => {
            warn!(signal, "stopping at once, work in flight is lost");
            runtime.shutdown_background();
            ExitCode::FAILURE
        }
    }
}

/// Exports the last spans within what is left of the time to stop.
fn close(spans: Option<Outlet>, shutdown: Shutdown, asked: Option<Instant>) {
    let Some(spans) = spans else { return };
    let left = asked.map(|asked| shutdown.timeout.saturating_sub(asked.elapsed()));
    spans.close(left.map_or(LAST_SPANS, |left| left.min(LAST_SPANS)));
}

enum Ended {
    /// With the time at which it was asked to, if it was.
    Itself(anyhow::Result<()>, Option<Instant>),
    BySignal(&'static str),
}

async fn until_end_or_second_signal<F, Fut>(run: F) -> Ended
where
    F: FnOnce(CancellationToken) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let mut signals = match Signals::catch() {
        Ok(signals) => signals,
        Err(error) => return Ended::Itself(Err(error.into()), None),
    };
    let shutdown = CancellationToken::new();
    let mut running = Box::pin(run(shutdown.clone()));
    let mut asked = None;

    loop {
        // A signal that loses the race is not lost; `running` is never dropped by losing one.
        tokio::select! {
            ended = running.as_mut() => return Ended::Itself(ended, asked),

            signal = signals.next() => {
                if shutdown.is_cancelled() {
                    // Leaked, because destructors may wait: a Kafka client for a broker that is
                    // gone, for one. The process ends now and takes everything with it.
                    std::mem::forget(running);
                    return Ended::BySignal(signal);
                }
                info!(signal, "stopping, a second signal stops at once");
                asked = Some(Instant::now());
                shutdown.cancel();
            }
        }
    }
}

#[expect(clippy::print_stdout, reason = "what was asked for on the command line")]
fn print(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "there are no logs before there are settings")]
fn complain(text: &str) {
    eprintln!("{text}");
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use nix::sys::signal::{Signal, raise};

    use super::*;
    use crate::settings::groups;

    const DOOR: Service = Service { name: "door", version: "1.2.3", about: "Opens doors." };

    struct Door {
        kafka: groups::Kafka,
        admin: SocketAddr,
    }

    impl Settings for Door {
        fn read(vars: &mut Vars) -> Self {
            let kafka = groups::Kafka::read(vars);
            Self { kafka, admin: vars.or("DOOR_ADMIN_LISTEN", "0.0.0.0:9080", "Health") }
        }
    }

    impl AdminPort for Door {
        fn admin_listen(&self) -> SocketAddr {
            self.admin
        }
    }

    fn start(args: &[&str], env: &[(&str, &str)]) -> Start<Door> {
        let args: Vec<_> = args.iter().map(ToString::to_string).collect();
        super::start(DOOR, &args, &Env::from_pairs(env.iter().copied()))
    }

    #[test]
    fn help_is_given_without_settings_and_lists_those_of_the_logs_too() {
        let Start::Print(help) = start(&["--help"], &[]) else { panic!("not printed") };

        assert!(help.contains("KAFKA_BROKERS") && help.contains("LOG_FORMAT"), "{help}");
    }

    #[test]
    fn the_version_is_given_without_settings() {
        let Start::Print(version) = start(&["--version"], &[]) else { panic!("not printed") };

        assert_eq!(version, "door 1.2.3");
    }

    #[test]
    fn wrong_settings_are_all_named_and_an_argument_is_refused() {
        let Start::Refuse(text) = start(&[], &[("LOG_FORMAT", "xml"), ("LOG_LEVEL", "a=b=c")])
        else {
            panic!("not refused")
        };
        assert_eq!(
            text,
            "door cannot start:\n\
             KAFKA_BROKERS: is required, for example 127.0.0.1:19092\n\
             LOG_FORMAT: \"xml\" is neither json nor text\n\
             LOG_LEVEL: \"a=b=c\" is not a level or a list of directives\n\
             (see door --help)"
        );

        assert!(matches!(start(&["serve"], &[("KAFKA_BROKERS", "a:1")]), Start::Refuse(_)));
    }

    #[test]
    fn right_settings_reach_the_service() {
        let Start::Run(settings) = start(&[], &[("KAFKA_BROKERS", "a:1")]) else {
            panic!("not started")
        };

        assert_eq!(settings.own.kafka.brokers, "a:1");
    }

    #[test]
    fn the_service_of_the_same_settings_is_asked_whether_it_is_ready() {
        let env = [("KAFKA_BROKERS", "a:1"), ("DOOR_ADMIN_LISTEN", "0.0.0.0:9999")];
        let Start::Ask(admin) = start(&["--ready"], &env) else { panic!("not asked") };

        assert_eq!(admin.port(), 9999);
        assert!(matches!(start(&["--ready"], &[]), Start::Refuse(_)), "it could not run");
    }

    // One test for all signals, because they reach every listener of the process.
    #[tokio::test]
    async fn the_first_signal_asks_and_the_second_does_not_wait() {
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let ended = until_end_or_second_signal(async |shutdown: CancellationToken| {
                raise(signal).expect("raised");
                shutdown.cancelled().await;
                Ok(())
            });
            assert!(matches!(ended.await, Ended::Itself(Ok(()), Some(_))));
        }

        let ended = until_end_or_second_signal(async |shutdown: CancellationToken| {
            raise(Signal::SIGTERM).expect("raised");
            shutdown.cancelled().await;
            raise(Signal::SIGINT).expect("raised");
            pending().await
        });
        assert!(matches!(ended.await, Ended::BySignal("SIGINT")));
    }
}
