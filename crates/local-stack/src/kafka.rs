//! A private Apache Kafka: one node that is broker and controller at once, or one of a cluster.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use service_kit::settings::groups::{KafkaLogin, KafkaSecurity, KafkaTls, SaslMechanism};
use service_kit::settings::{CaFile, Value as _};
use uuid::Uuid;

use crate::StartError;
use crate::launch::Program;
use crate::place::{Place, free_port};
use crate::secured::{Demands, User};
use crate::server::{Launch, Recipe, Server, StopSignal};

mod cluster;
mod jars;
mod properties;

pub use self::cluster::Cluster;
pub(crate) use self::cluster::Role;
pub use self::jars::version;

/// A private Kafka node.
pub type Kafka = Server<KafkaRecipe>;

impl Kafka {
    /// What `KAFKA_BROKERS` is set to.
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// How its clients must talk to it, as `user` where it demands a login.
    pub fn security(&self, user: Option<&User>) -> KafkaSecurity {
        security(self.place().demands.as_deref(), user)
    }
}

fn security(demands: Option<&Demands>, user: Option<&User>) -> KafkaSecurity {
    let Some(demands) = demands else { return KafkaSecurity::default() };
    let user = user.unwrap_or_else(|| demands.admin());
    KafkaSecurity {
        // The file is ours, and holds a certificate.
        tls: Some(KafkaTls { ca_file: CaFile::parse(&demands.ca_file.to_string_lossy()).ok() }),
        login: Some(KafkaLogin {
            mechanism: SaslMechanism::ScramSha512,
            username: user.name.clone(),
            password: user.password.as_str().into(),
        }),
    }
}

/// How Kafka is started.
#[derive(Debug)]
pub struct KafkaRecipe {
    port: u16,
    /// The node that is to serve there; `None` for one that only controls others.
    broker: Option<i32>,
    security: KafkaSecurity,
}

impl Recipe for KafkaRecipe {
    const NAME: &'static str = "Kafka";
    const PORT_VARIABLE: &'static str = "LOCAL_KAFKA_PORT";
    const READY_WITHIN: Duration = Duration::from_mins(2);
    const PORT_TAKEN: &'static str = "Address already in use";
    const STOP: StopSignal = StopSignal::Terminate;

    async fn prepare(place: &Place, port: u16) -> Result<(Self, Launch), StartError> {
        let libs = jars::find()?;
        let role = &place.role;
        let controller = match role {
            Role::Broker { controller, .. } => *controller,
            Role::Controller { .. } => port,
            Role::Alone => free_port().ok_or(StartError::NoFreePort("Kafka's controller"))?,
        };
        std::fs::create_dir_all(&place.data)
            .map_err(StartError::file("folder could not be made", &place.data))?;

        let advertised = place.advertised.unwrap_or(port);
        let demands = place.demands.as_deref();
        let node = properties::Node { listen: port, advertised, controller, role, demands };
        let files = properties::write(&place.data, node)?;
        let java = java(&libs, &files.log4j, place)?;
        if !files.log_dir.join("meta.properties").exists() {
            let users = demands.map(|it| it.users.as_slice()).unwrap_or_default();
            format(&java, &files.server, &role.cluster(), users)?;
        }

        let program = java.arg("kafka.Kafka").arg(&files.server);
        let broker = (!matches!(role, Role::Controller { .. })).then(|| role.node_id());
        let security = security(demands, None);
        Ok((Self { port, broker, security }, Launch(program)))
    }

    async fn probe(&self) -> Result<(), String> {
        let address = format!("127.0.0.1:{}", self.port);
        // Making a client costs more than a refused connection, of which there are many at first.
        tokio::net::TcpStream::connect(&address).await.map_err(|error| error.to_string())?;
        let Some(broker) = self.broker else { return Ok(()) };
        let config = kafka_access::client_config_of(&address, &self.security);
        tokio::task::spawn_blocking(move || serves(&config, broker))
            .await
            .map_err(|error| error.to_string())?
    }
}

/// Asks for the metadata of the cluster, which names the broker once it may serve.
fn serves(config: &ClientConfig, broker: i32) -> Result<(), String> {
    const LIMIT: Duration = Duration::from_secs(5);
    let client: BaseConsumer = config.create().map_err(|error| error.to_string())?;
    let metadata = client.fetch_metadata(None, LIMIT).map_err(|error| error.to_string())?;
    let registered = metadata.brokers().iter().any(|it| it.id() == broker);
    if registered { Ok(()) } else { Err("the broker is not registered".to_owned()) }
}

fn java(libs: &Path, log4j: &Path, place: &Place) -> Result<Program, StartError> {
    let mut class_path = libs.as_os_str().to_owned();
    class_path.push("/*");
    let mut log4j_option = std::ffi::OsString::from("-Dlog4j2.configurationFile=");
    log4j_option.push(log4j);

    let heap = if matches!(place.role, Role::Alone) { "-Xmx512m" } else { "-Xmx256m" };
    let java = Program::installed("java", jars::INSTALLED_ELSEWHERE)?
        .args([heap, "-XX:+UseSerialGC", "-XX:-UsePerfData", "-Djava.awt.headless=true"])
        .arg(log4j_option);
    // The quick compiler alone halves the start; the thorough one pays off after minutes only.
    let java = if place.durable { java } else { java.arg("-XX:TieredStopAtLevel=1") };
    Ok(java.arg("-cp").arg(class_path))
}

/// What a new cluster is called.
///
/// Kafka's own ids are 22 characters of base64; any text of that alphabet will do.
fn cluster_id() -> String {
    let mut id = Uuid::new_v4().simple().to_string();
    id.truncate(22);
    id
}

fn format(
    java: &Program,
    properties: &Path,
    cluster: &str,
    users: &[User],
) -> Result<(), StartError> {
    let scram = users.iter().flat_map(|User { name, password, .. }| {
        ["--add-scram".to_owned(), format!("SCRAM-SHA-512=[name={name},password={password}]")]
    });
    let output = java
        .clone()
        .args(["kafka.tools.StorageTool", "format", "--cluster-id"])
        .arg(cluster)
        .arg("--config")
        .arg(properties)
        .args(scram)
        .output()
        .map_err(StartError::file("java could not be run for", properties))?;
    if output.status.success() {
        return Ok(());
    }
    Err(StartError::Preparing {
        what: "Kafka's storage could not be formatted".to_owned(),
        output: [output.stdout, output.stderr]
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .concat(),
    })
}

/// The files that a broker is started with.
struct Files {
    server: PathBuf,
    log4j: PathBuf,
    log_dir: PathBuf,
}
