//! The command line as an operator uses it, against real servers.

mod ads;
mod audit;
mod counting;
mod data_team;
mod dead;
mod harness;
mod ingest_stub;
mod link;
mod migrate;
mod rebuild;
mod replay;
mod tap;
mod topics;
