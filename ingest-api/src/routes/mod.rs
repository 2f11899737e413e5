//! The ways in: one file for each.

pub(crate) mod batch;
pub(crate) mod click_through;
mod media_type;
pub(crate) mod pixel;
pub(crate) mod single;
