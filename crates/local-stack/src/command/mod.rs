//! One module for each subcommand, and what they share.

pub(crate) mod exec;
pub(crate) mod say;
