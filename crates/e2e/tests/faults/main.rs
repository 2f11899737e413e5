//! The fault matrix of docs/GUARANTEES.md: something breaks under load, and every click counts once.
//!
//! Each test ends with `Pipeline::check`, which holds what the players were told against what is
//! stored. A row of the matrix is a file or a part of one, see the table there.

mod broker_faults;
mod chaos;
mod clock_jumps;
mod consumer_killed;
mod consumer_zombie;
mod disks_full;
mod guarantees;
mod ingest_killed;
mod links_cut;
mod links_silent;
mod postgres_faults;
mod postgres_restored;
mod rebalances;
mod redis_faults;
mod replies_lost;
mod spool;
mod strange_topics;
mod three_brokers;
