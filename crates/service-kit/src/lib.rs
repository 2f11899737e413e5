//! How a service runs: settings, telemetry, admin port, HTTP server, shutdown and retry.
//!
//! A service is a library with `run(config, shutdown)` and a main of one call:
//!
//! ```no_run
//! use service_kit::settings::{Settings, Vars};
//! use tokio_util::sync::CancellationToken;
//!
//! struct Config {
//!     admin: std::net::SocketAddr,
//! }
//!
//! impl Settings for Config {
//!     fn read(vars: &mut Vars) -> Self {
//!         Self { admin: vars.or("EXAMPLE_ADMIN_LISTEN", "0.0.0.0:9080", "Health and metrics") }
//!     }
//! }
//!
//! impl service_kit::AdminPort for Config {
//!     fn admin_listen(&self) -> std::net::SocketAddr {
//!         self.admin
//!     }
//! }
//!
//! async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
//!     let listener = service_kit::http::listen(config.admin).await?;
//!     drop(listener);
//!     shutdown.cancelled().await;
//!     Ok(())
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     service_kit::main_with(service_kit::service!(), run)
//! }
//! ```

pub mod admin;
pub mod dependencies;
pub mod http;
pub mod metrics;
pub mod open_files;
pub mod openapi;
mod process;
pub mod readiness;
mod ready;
pub mod retry;
mod service;
pub mod settings;
pub mod shutdown;
pub mod telemetry;
pub mod traces;

pub use ready::AdminPort;
pub use service::{Service, main_with};
