//! The ways in: one file for each.

pub(crate) mod single;
