//! How a service runs: settings, telemetry, admin port, HTTP server, shutdown and retry.
//!
//! A service is a library with `run(config, shutdown)` and a main of one call:
//!
//! ```no_run
//! use service_kit::settings::{Settings, Vars};
//! use tokio_util::sync::CancellationToken;
//!
//! struct Config {
//!     listen: std::net::SocketAddr,
//! }
//!
//! impl Settings for Config {
//!     fn read(vars: &mut Vars) -> Self {
//!         Self { listen: vars.or("EXAMPLE_LISTEN", "0.0.0.0:8080", "Where to serve the API") }
//!     }
//! }
//!
//! async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
//!     let listener = service_kit::http::listen(config.listen).await?;
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
pub mod http;
pub mod metrics;
pub mod open_files;
pub mod openapi;
pub mod readiness;
pub mod retry;
mod service;
pub mod settings;
pub mod shutdown;
pub mod telemetry;

pub use service::{Service, main_with};
