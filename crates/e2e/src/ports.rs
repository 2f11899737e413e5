//! Ports for the services of a test.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::atomic::{AtomicU16, Ordering},
};

/// Above those of the local stack's servers, and below those that Linux gives to outgoing
/// connections: a client could otherwise take a port while its service is being restarted.
const FIRST: u16 = 30_000;
const COUNT: u16 = 2_700;

/// How far apart two test processes begin to look.
const APART: u16 = 90;

/// Returns an address that nobody listens on.
///
/// No port is given out twice by one process until all were; two processes at once begin at
/// different ones.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let pid = std::process::id() % u32::from(COUNT / APART);
    let start = u16::try_from(pid).map_or(0, |pid| pid * APART);

    let free = (0..COUNT).find_map(|_| {
        let next = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + (start + next) % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        TcpListener::bind(address).is_ok().then_some(address)
    });
    free.expect("one of thousands of ports is free")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_out_twice() {
        let one = free_address();
        let other = free_address();

        assert_ne!(one, other);
        assert!(TcpListener::bind(one).is_ok());
    }
}
