//! One service of the pipeline as a process, and what it says of itself on its admin port.

use std::net::SocketAddr;

use crate::{
    client::Client,
    ports::free_address,
    process::{Command, Process},
    wait::until,
};

/// One of the three services.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Program {
    Ingest,
    Consumer,
    Analytics,
}

impl Program {
    pub const ALL: [Self; 3] = [Self::Ingest, Self::Consumer, Self::Analytics];

    /// The name of the binary.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest-api",
            Self::Consumer => "click-consumer",
            Self::Analytics => "analytics-api",
        }
    }

    fn listen_setting(self) -> Option<&'static str> {
        match self {
            Self::Ingest => Some("INGEST_LISTEN"),
            Self::Consumer => None,
            Self::Analytics => Some("ANALYTICS_LISTEN"),
        }
    }

    fn admin_setting(self) -> &'static str {
        match self {
            Self::Ingest => "INGEST_ADMIN_LISTEN",
            Self::Consumer => "CONSUMER_ADMIN_LISTEN",
            Self::Analytics => "ANALYTICS_ADMIN_LISTEN",
        }
    }
}

/// A service that was started; it keeps its ports over restarts. Dropping it kills it.
#[derive(Debug)]
pub struct Service {
    program: Program,
    command: Command,
    process: Process,
    public: Option<SocketAddr>,
    admin: SocketAddr,
    http: Client,
}

impl Service {
    /// Starts it on ports of its own, and does not wait for it.
    pub(crate) fn spawn(program: Program, mut command: Command, http: Client) -> Self {
        let admin = free_address();
        let public = program.listen_setting().map(|setting| (setting, free_address()));
        let listen = public.into_iter().chain([(program.admin_setting(), admin)]);
        command.environment.extend(listen.map(|(name, at)| (name.to_owned(), at.to_string())));

        let process = Process::spawn(&command);
        Self { program, command, process, public: public.map(|it| it.1), admin, http }
    }

    /// Waits until it says that it is ready.
    pub async fn ready(&mut self) {
        self.until_admin("/readyz").await;
    }

    /// Why it says that it is not ready; nothing where it is, or does not answer.
    pub async fn reasons_not_ready(&self) -> String {
        match self.http.try_get(&self.admin_url("/readyz")).await {
            Some(answer) if answer.status == 503 => answer.body,
            _ => String::new(),
        }
    }

    /// Waits until it answers at all, which it does without any store.
    pub async fn alive(&mut self) {
        self.until_admin("/livez").await;
    }

    /// Which of the three it is.
    pub fn program(&self) -> Program {
        self.program
    }

    /// Tells whether it runs no longer.
    pub fn has_ended(&mut self) -> bool {
        self.process.exited().is_some()
    }

    /// Kills it at once, as `kill -9` does.
    pub fn kill_9(&mut self) {
        self.process.kill_9();
    }

    /// Sends SIGTERM, and does not wait.
    pub fn terminate(&self) {
        self.process.terminate();
    }

    /// Stops it where it is; it keeps its connections, and says nothing on them.
    pub fn freeze(&self) {
        self.process.freeze();
    }

    /// Lets it go on after [`freeze`](Self::freeze).
    pub fn thaw(&self) {
        self.process.thaw();
    }

    /// Waits until it has ended, and returns its exit code.
    pub async fn exit_code(&mut self) -> i32 {
        self.process.ended().await
    }

    /// Starts it again in the same way, killing it first where it runs. Does not wait for it.
    pub fn restart(&mut self) {
        self.process.kill_9();
        self.process = Process::spawn(&self.command);
    }

    /// The process that runs now.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Where its public API is.
    pub fn address(&self) -> SocketAddr {
        self.public.expect("a service with a public API")
    }

    /// The URL of a path of its public API.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// Where its health and metrics are.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// What `/metrics` says.
    pub async fn metrics(&self) -> String {
        self.http.get(&self.admin_url("/metrics")).await.body
    }

    /// The value of one series, such as `consumer_partitions{stage="reading"}`.
    pub async fn metric(&self, series: &str) -> f64 {
        let metrics = self.metrics().await;
        let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.expect(series).parse().expect("a number")
    }

    fn admin_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.admin)
    }

    async fn until_admin(&mut self, path: &str) {
        let (name, url) = (self.program.name(), self.admin_url(path));
        let what = format!("{name} answers {path} with 200");
        until(&what, async || {
            let exited = self.process.exited();
            assert!(exited.is_none(), "{name} ended: {exited:?}");
            self.http.try_get(&url).await.is_some_and(|answer| answer.status == 200)
        })
        .await;
    }
}
