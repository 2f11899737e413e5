//! One module for each subcommand, and what they share.

pub(crate) mod exec;
pub(crate) mod run;
pub(crate) mod say;
pub(crate) mod stores;
pub(crate) mod up;
