//! The command line as an operator uses it, against real servers.

mod ads;
mod data_team;
mod harness;
mod ingest_stub;
mod migrate;
mod replay;
mod tap;
mod topics;
