//! The ways in: one file for each.

pub(crate) mod batch;
mod media_type;
pub(crate) mod pixel;
pub(crate) mod single;
