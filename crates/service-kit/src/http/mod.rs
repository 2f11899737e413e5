//! The HTTP side of a service: its server, its errors and the reading of bodies.

mod address;
mod answer;
mod body;
mod connection;
mod cors;
mod crowd;
mod direct;
mod error;
mod limits;
mod load;
mod metrics;
mod pace;
mod server;
mod unpack;

pub use address::AddressKey;
pub use answer::Answer;
pub use body::{BodyError, read_body};
pub use cors::{Origins, cross_origin};
pub use direct::{Direct, DirectRoutes};
pub(crate) use error::method_not_allowed;
pub use error::{ErrorBody, error_response, whole_seconds, with_fallbacks};
pub use limits::ServerLimits;
pub use load::{Load, too_busy};
pub use metrics::ServerMetrics;
pub use server::{listen, serve};
pub use unpack::CONTENT_CODINGS;
