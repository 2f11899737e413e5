//! `--ready`: asks the service that runs with these settings whether it is ready.
//!
//! An image that holds nothing but the service has no `curl` for a container's health check.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// How long each step may take: longer than a loaded machine needs, shorter than a health check waits.
const STEP: Duration = Duration::from_secs(2);

/// More than all reasons for not being ready together.
const LONGEST_ANSWER: u64 = 64 * 1024;

/// Settings of a service, which has an admin port.
pub trait AdminPort {
    /// Where `/livez`, `/readyz` and `/metrics` are served.
    fn admin_listen(&self) -> SocketAddr;
}

/// Asks `/readyz` of a service that listens on `listen`.
///
/// # Errors
///
/// In words: that it does not answer, or why it is not ready.
pub(crate) fn ask(listen: SocketAddr) -> Result<(), String> {
    let address = reachable(listen);
    let answer = get(address).map_err(|error| format!("{address} does not answer: {error}"))?;
    let (head, reasons) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if head.starts_with("HTTP/1.1 200 ") { Ok(()) } else { Err(reasons.trim().to_owned()) }
}

fn get(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, STEP)?;
    stream.set_read_timeout(Some(STEP))?;
    stream.set_write_timeout(Some(STEP))?;
    write!(stream, "GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(LONGEST_ANSWER).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Where to find a service that listens on every address.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        own => own,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;
    use tokio::net::TcpListener;
    use tokio::task::{JoinSet, spawn_blocking};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::admin;
    use crate::readiness::Readiness;

    #[tokio::test]
    async fn a_service_is_asked_and_its_reasons_are_told() {
        let readiness = Readiness::new();
        let check = readiness.register("kafka");
        let listener = TcpListener::bind("0.0.0.0:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let stop = CancellationToken::new();
        let mut admin = JoinSet::new();
        admin.spawn(admin::serve(listener, Registry::default(), readiness, stop.clone()));
        let asked = async || spawn_blocking(move || ask(address)).await.expect("asked");

        let waiting = asked().await.expect_err("not ready yet");
        assert!(waiting.contains("kafka"), "{waiting}");

        check.ok();
        assert_eq!(asked().await, Ok(()));

        stop.cancel();
        admin.join_all().await;
        let gone = asked().await.expect_err("nobody is there");
        assert!(gone.contains("does not answer"), "{gone}");
    }
}
