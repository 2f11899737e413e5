//! Lets librdkafka wait by a clock that nobody sets.
//!
//! librdkafka waits with glibc's `cnd_timedwait`, until a moment of the wall clock. Set that clock back
//! by an hour, and every wait that is under way takes an hour longer: no heartbeats, no rebalances, no
//! reconnecting, and a poll that does not return. With this crate linked (`use steady_waits as _;` is
//! all there is to it), librdkafka calls a `cnd_timedwait` that is not impressed. See docs/adr/0010.
//!
//! Where the C library is not glibc, nothing is changed.
