//! One pipeline of a test's own: its database, topics and keys, and the services that it starts.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use click_store::{Pool, Projection, Redis, RedisLimits};
use local_stack::testing::{Scope, TestStack, stack};
use serde_json::Value;

use crate::{
    client::Client,
    process::{Command, Process, binary, target_folder},
    sample::{Sample, ads_file},
    service::{Program, Service},
    wait::LIMIT,
};

/// Connections to Postgres that a test itself may use at once.
const POSTGRES_CONNECTIONS: usize = 2;

/// Everything that a test's services share, with the sample's 34 ads registered.
#[derive(Debug)]
pub struct Pipeline {
    pub http: Client,
    pub(crate) scope: Scope,
    pub(crate) pool: Pool,
    pub(crate) projection: Projection,
    database_url: String,
    environment: Vec<(String, String)>,
    logs: PathBuf,
    /// Processes that were started, which numbers their logs.
    started: AtomicU32,
}

/// The three services, one process each, ready.
#[derive(Debug)]
pub struct Services {
    pub ingest: Service,
    pub consumer: Service,
    pub analytics: Service,
}

impl Pipeline {
    /// Makes a pipeline; `name` is that of its folder of logs.
    pub async fn new(name: &str) -> Self {
        Self::on(name, stack()).await
    }

    /// The same with another Redis than that of the stack: one that the test may stop or flush.
    pub async fn with_redis(name: &str, redis_url: &str) -> Self {
        Self::on(name, TestStack { redis_url: redis_url.to_owned(), ..stack() }).await
    }

    /// The same on any servers.
    pub async fn on(name: &str, stack: TestStack) -> Self {
        let scope = stack.scope(name);
        let redis_url = scope.stack.redis_url.as_str();
        let database_url = scope.create_database().await;
        scope.create_pipeline_topics().await;

        let pool = click_store::pool(&database_url.as_str().into(), "e2e", POSTGRES_CONNECTIONS);
        let limits = RedisLimits { command: LIMIT };
        let ca_file = scope.stack.redis_ca_file.as_deref();
        let redis =
            Redis::connect(&redis_url.to_owned().into(), ca_file, &scope.redis_prefix, limits);
        let environment = [
            ("DATABASE_URL", database_url.as_str()),
            ("TOPIC_PREFIX", &scope.topic_prefix),
            ("REDIS_PREFIX", &scope.redis_prefix),
            ("CONSUMER_GROUP", &scope.consumer_group),
            // The sample is of 2019.
            ("MAX_EVENT_AGE", "20y"),
            // This machine posts for the sample's viewers, and without a rate limit.
            ("TRUSTED_SENDERS", "127.0.0.1"),
            ("LOG_FORMAT", "text"),
        ];
        let pipeline = Self {
            http: Client::new(),
            pool: pool.expect("a url"),
            projection: Projection::new(redis.expect("a url")),
            environment: environment
                .map(|(name, it)| (name, it.to_owned()))
                .into_iter()
                .chain(scope.stack.settings())
                .map(|(name, it)| (name.to_owned(), it))
                .collect(),
            logs: new_log_folder(name),
            started: AtomicU32::new(0),
            database_url,
            scope,
        };
        assert_eq!(pipeline.adctl(&["migrate"]).exit_code().await, 0);
        let file = ads_file().display().to_string();
        let add = pipeline.adctl(&["ads", "add", "--file", &file]);
        assert_eq!(add.exit_code().await, 0);
        pipeline
    }

    /// Takes its database and its topics from the servers, for whoever makes so many, or so large ones,
    /// that a disk would fill up. What it has started is to have ended.
    pub async fn discard(self) {
        self.scope.drop_database(&self.database_url).await;
        self.scope.delete_pipeline_topics().await;
    }

    /// Starts a service, with more settings, and waits until it is ready.
    pub async fn start(&self, program: Program, settings: &[(&str, &str)]) -> Service {
        let mut service = self.spawn(program, settings);
        service.ready().await;
        service
    }

    /// The same with another build of the service, such as one without Kafka.
    pub async fn start_build(
        &self,
        program: Program,
        binary: &str,
        settings: &[(&str, &str)],
    ) -> Service {
        let mut service = self.spawn_build(program, binary, settings);
        service.ready().await;
        service
    }

    /// Starts a service, with more settings, and does not wait for it. A setting that is given as
    /// empty has its default.
    pub fn spawn(&self, program: Program, settings: &[(&str, &str)]) -> Service {
        self.spawn_build(program, program.name(), settings)
    }

    fn spawn_build(&self, program: Program, binary: &str, settings: &[(&str, &str)]) -> Service {
        let mut command = self.command(binary, &[]);
        let settings = settings.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        command.environment.extend(settings);
        Service::spawn(program, command, self.http.clone())
    }

    /// The names that are this pipeline's own, and the servers that it runs on.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Connections to its database.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Starts a consumer that dies, as if by `kill -9`, when it comes to the step of counting that is
    /// called `point` for the `nth` time (from 1); it belongs to a group of its own.
    ///
    /// Kafka misses a killed member for 10 s, and would give its partitions to nobody until then.
    /// Another group begins at once, and at the same place: Postgres says where.
    pub fn spawn_doomed(&self, point: &str, nth: u32) -> Service {
        let group =
            format!("{}-{}", self.scope.consumer_group, self.started.load(Ordering::Relaxed));
        // Small batches: more of them, so more deaths at different moments.
        let settings = [("CONSUMER_GROUP", group.as_str()), ("BATCH_MAX_EVENTS", "20")];
        self.spawn_doomed_with(point, nth, &settings)
    }

    /// The same with settings as given, and in the group of the other consumers unless they say
    /// otherwise.
    pub(crate) fn spawn_doomed_with(
        &self,
        point: &str,
        nth: u32,
        settings: &[(&str, &str)],
    ) -> Service {
        self.spawn_with_failpoint(&format!("{point}={}*off->return", nth - 1), settings)
    }

    /// Starts a consumer that stands still, as if by SIGSTOP, when it comes to this step for the `nth`
    /// time (from 1), once; see [`Process::is_frozen`].
    pub fn spawn_zombie(&self, point: &str, nth: u32, settings: &[(&str, &str)]) -> Service {
        let failpoint = format!("{point}={}*off->1*return(freeze)->off", nth - 1);
        self.spawn_with_failpoint(&failpoint, settings)
    }

    fn spawn_with_failpoint(&self, failpoint: &str, settings: &[(&str, &str)]) -> Service {
        let mut command = self.command("click-consumer-failpoints", &[]);
        let settings = settings.iter().copied().chain([("FAILPOINTS", failpoint)]);
        command.environment.extend(settings.map(|(name, it)| (name.to_owned(), it.to_owned())));
        Service::spawn(Program::Consumer, command, self.http.clone())
    }

    /// `DATABASE_URL` of this pipeline, through a proxy at this port where one is given.
    pub fn database_url(&self, port: u16) -> String {
        let (_, database) = self.database_url.rsplit_once('/').expect("a url with a database");
        format!("postgres://ads@127.0.0.1:{port}/{database}")
    }

    /// `DATABASE_URL` of this pipeline, as who owns its tables.
    pub fn own_database_url(&self) -> String {
        self.database_url.clone()
    }

    /// Starts the three services side by side, and waits until they are ready.
    pub async fn start_all(&self) -> Services {
        let (ingest, consumer, analytics) = tokio::join!(
            self.start(Program::Ingest, &[]),
            self.start(Program::Consumer, &[]),
            self.start(Program::Analytics, &[]),
        );
        Services { ingest, consumer, analytics }
    }

    /// Starts `adctl` in this pipeline.
    pub fn adctl(&self, args: &[&str]) -> Process {
        self.adctl_with(&[], args)
    }

    /// The same with more settings.
    pub fn adctl_with(&self, settings: &[(&str, &str)], args: &[&str]) -> Process {
        let mut command = self.command("adctl", args);
        let settings = settings.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        command.environment.extend(settings);
        Process::spawn(&command)
    }

    /// Runs a program of `crates/e2e/player`, which does what a player or a browser does, to its end,
    /// and returns the JSON that it prints last.
    pub async fn play(&self, program: &str, args: &[&str]) -> Value {
        let folder = player_folder();
        let modules = folder.join("node_modules");
        assert!(
            modules.exists(),
            "{} is missing: run scripts/install.sh --tests",
            modules.display()
        );
        let script = folder.join(program).display().to_string();
        let (code, said) = self.run("node".into(), &[&[script.as_str()], args].concat()).await;
        assert_eq!(code, 0, "{said}");
        serde_json::from_str(said.lines().last().unwrap_or_default()).expect(&said)
    }

    /// Holds a service against the contract that it serves, with requests that Schemathesis makes up,
    /// the same at each run. Returns what it says.
    pub async fn check_contract(&self, service: &Service, args: &[&str]) -> String {
        let checker = checker("schemathesis");
        let settings = local_stack::repository().join("crates/e2e/schemathesis.toml");
        let (settings, url) = (settings.display().to_string(), service.url("/openapi.json"));
        let own = ["--config-file", &settings, "run", &url];
        let (code, said) = self.run(checker, &[&own, args].concat()).await;
        assert_eq!(code, 0, "{said}");
        said
    }

    /// Runs a Python program of the repository that uses one of the checkers, and returns the JSON that it
    /// prints last.
    pub(crate) async fn check_by_python(&self, program: &str, args: &[&str]) -> Value {
        let program = local_stack::repository().join(program).display().to_string();
        let (code, said) = self.run(checker("python"), &[&[program.as_str()], args].concat()).await;
        assert_eq!(code, 0, "{said}");
        serde_json::from_str(said.lines().last().unwrap_or_default()).expect(&said)
    }

    /// Runs a program that is not ours to its end.
    async fn run(&self, binary: PathBuf, args: &[&str]) -> (i32, String) {
        let name = binary.file_name().and_then(|it| it.to_str()).expect("a name").to_owned();
        let command = Command {
            binary,
            args: args.iter().map(ToString::to_string).collect(),
            environment: Vec::new(),
            inherits: true,
            log: self.new_log(&name),
        };
        let mut process = Process::spawn(&command);
        (process.ended().await, process.said())
    }

    /// Where this test's own logs and pictures are.
    pub fn artefact(&self, name: &str) -> PathBuf {
        self.logs.join(name)
    }

    /// Begins to replay the sample to an ingest service, with more arguments.
    pub fn replay(&self, sample: &Sample, ingest: &Service, more: &[&str]) -> Process {
        let (file, url) = (sample.path.display().to_string(), ingest.url(""));
        self.adctl(&[&["replay", &file, "--ingest", &url], more].concat())
    }

    /// Checks the logs of every process that was started so far.
    pub(crate) fn nobody_panicked(&self) {
        for entry in std::fs::read_dir(&self.logs).expect("the folder of logs") {
            let log = entry.expect("a log").path();
            let bytes = std::fs::read(&log).expect("a log that can be read");
            let panicked = String::from_utf8_lossy(&bytes).contains("panicked");
            assert!(!panicked, "a panic in {}", log.display());
        }
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        Command {
            binary: binary(program),
            args: args.iter().map(ToString::to_string).collect(),
            environment: self.environment.clone(),
            inherits: false,
            log: self.new_log(program),
        }
    }

    fn new_log(&self, program: &str) -> PathBuf {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        self.logs.join(format!("{number}-{program}.log"))
    }
}

/// A program that `scripts/install.sh --tests` fetches with pip.
fn checker(name: &str) -> PathBuf {
    let checker = local_stack::repository().join(".local/checkers/bin").join(name);
    let shown = checker.display();
    assert!(checker.exists(), "{shown} is missing: run scripts/install.sh --tests");
    checker
}

/// What players and browsers do, in JavaScript.
fn player_folder() -> PathBuf {
    local_stack::repository().join("crates/e2e/player")
}

/// Makes the folder of a test's logs anew, so that it holds one run.
fn new_log_folder(name: &str) -> PathBuf {
    let target = target_folder();
    let logs = target.parent().expect("a folder above debug").join("e2e-logs").join(name);
    // At the first run there is none.
    std::fs::remove_dir_all(&logs).ok();
    std::fs::create_dir_all(&logs).expect("a folder for logs");
    logs
}
