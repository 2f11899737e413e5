//! The HTTP side of a service: its server, its errors and the reading of bodies.

mod body;
mod cors;
mod error;
mod server;
mod unpack;

pub use body::{BodyError, read_body};
pub use cors::{Origins, cross_origin};
pub(crate) use error::method_not_allowed;
pub use error::{ErrorBody, error_response, whole_seconds, with_fallbacks};
pub use server::{ServerLimits, listen, serve};
pub use unpack::CONTENT_CODINGS;
