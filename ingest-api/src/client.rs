//! Whose address a request comes from, and whether its word about a viewer's address counts.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use service_kit::settings::Cidrs;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Who sent a request, as far as the network and the operator's lists can tell.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Client {
    /// Never an IPv4 address mapped into IPv6.
    pub(crate) address: IpAddr,
    /// Whether it is in `TRUSTED_SENDERS`: it may speak for its viewers, and has no rate limit.
    pub(crate) trusted: bool,
}

/// Whose word counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trust {
    pub(crate) proxies: Cidrs,
    pub(crate) senders: Cidrs,
}

impl Trust {
    /// Finds out who sent a request.
    ///
    /// The client is the peer, or, where the peer is a trusted proxy, the right-most address of
    /// `X-Forwarded-For` that is not one. Everything to the left of it was written by somebody
    /// unknown. Where no such address is found the client is the peer.
    pub(crate) fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> Client {
        let peer = peer.ip().to_canonical();
        let address = if self.proxies.contains(peer) {
            self.forwarded_for(headers).unwrap_or(peer)
        } else {
            peer
        };
        Client { address, trusted: self.senders.contains(address) }
    }

    /// Several `X-Forwarded-For` headers are one list, in their order (RFC 9110, section 5.3).
    fn forwarded_for(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let from_the_right = headers.get_all(&X_FORWARDED_FOR).iter().rev().flat_map(parts);
        for part in from_the_right {
            // What is no address ends the walk: what stands to the left of it proves nothing.
            let address = address(part)?;
            if !self.proxies.contains(address) {
                return Some(address);
            }
        }
        None
    }
}

/// The elements of one header, from the right.
fn parts(header: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    header.as_bytes().rsplit(|&byte| byte == b',')
}

/// Reads an address, with the port that some balancers add (`1.2.3.4:567`, `[2001:db8::1]:567`) or
/// without it.
fn address(part: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(part).ok()?.trim_matches([' ', '\t']);
    let bare = || text.parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|it| it.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    bare().or_else(with_port).or_else(in_brackets).map(|it: IpAddr| it.to_canonical())
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use service_kit::settings::Value as _;

    use super::*;

    fn trust(proxies: &str, senders: &str) -> Trust {
        let list = |text| Cidrs::parse(text).expect("networks");
        Trust { proxies: list(proxies), senders: list(senders) }
    }

    fn client(trust: &Trust, peer: &str, forwarded: &[&str]) -> Client {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            let value = HeaderValue::from_bytes(value.as_bytes()).expect("a header");
            headers.append(X_FORWARDED_FOR, value);
        }
        let peer = SocketAddr::new(peer.parse().expect("an address"), 50_000);
        trust.client(peer, &headers)
    }

    /// The address that is found behind the proxies 10.0.0.0/8 and `fd00::/8`.
    fn behind(peer: &str, forwarded: &[&str]) -> String {
        client(&trust("10.0.0.0/8,fd00::/8", ""), peer, forwarded).address.to_string()
    }

    #[test]
    fn a_stranger_cannot_say_that_it_is_somebody_else() {
        assert_eq!(behind("203.0.113.9", &["198.51.100.1"]), "203.0.113.9");
    }

    #[test]
    fn nobody_is_a_proxy_by_default() {
        let client = client(&Trust::default(), "127.0.0.1", &["198.51.100.1"]);
        assert_eq!(client.address.to_string(), "127.0.0.1");
    }

    #[test]
    fn behind_a_proxy_the_right_most_address_that_is_no_proxy_counts() {
        assert_eq!(behind("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(behind("10.0.0.1", &["198.51.100.1, 10.2.3.4 ,10.0.0.2"]), "198.51.100.1");
        assert_eq!(behind("10.0.0.1", &["6.6.6.6, 198.51.100.1,10.0.0.2"]), "198.51.100.1");
        assert_eq!(behind("fd00::1", &["2001:db8::7, fd00::2"]), "2001:db8::7");
    }

    #[test]
    fn several_headers_are_one_list_in_their_order() {
        assert_eq!(behind("10.0.0.1", &["6.6.6.6", "198.51.100.1", "10.0.0.2"]), "198.51.100.1");
        assert_eq!(behind("10.0.0.1", &["198.51.100.1, 10.0.0.3", "10.0.0.2"]), "198.51.100.1");
    }

    #[test]
    fn without_another_address_the_client_is_the_peer() {
        assert_eq!(behind("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(behind("10.0.0.1", &["10.0.0.2, 10.0.0.3"]), "10.0.0.1");
        assert_eq!(behind("10.0.0.1", &[""]), "10.0.0.1");
    }

    #[test]
    fn what_is_no_address_ends_the_walk() {
        for garbage in ["unknown", "_hidden", "1.2.3", "1.2.3.4.5", "01.2.3.4", "", "é", "::1%lo"]
        {
            let forwarded = format!("198.51.100.1, {garbage}, 10.0.0.2");
            assert_eq!(behind("10.0.0.1", &[&forwarded]), "10.0.0.1", "{garbage:?}");
        }
        // What stands to the left of the address that counts was never looked at.
        assert_eq!(behind("10.0.0.1", &["unknown, 198.51.100.1"]), "198.51.100.1");
    }

    #[test]
    fn an_ipv4_address_in_ipv6_form_is_the_ipv4_one() {
        assert_eq!(behind("::ffff:10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(behind("::ffff:203.0.113.9", &[]), "203.0.113.9");
        assert_eq!(behind("10.0.0.1", &["::ffff:198.51.100.1, ::ffff:10.0.0.2"]), "198.51.100.1");
    }

    #[test]
    fn a_port_behind_the_address_is_left_out() {
        assert_eq!(behind("10.0.0.1", &["198.51.100.1:567"]), "198.51.100.1");
        assert_eq!(behind("10.0.0.1", &["[2001:db8::7]:567"]), "2001:db8::7");
        assert_eq!(behind("10.0.0.1", &["[2001:db8::7]"]), "2001:db8::7");
        assert_eq!(behind("10.0.0.1", &["198.51.100.1, 10.0.0.2:443"]), "198.51.100.1");
    }

    #[test]
    fn a_sender_is_trusted_by_the_address_that_was_found() {
        let trust = trust("10.0.0.0/8", "192.0.2.0/24");

        assert!(client(&trust, "192.0.2.1", &[]).trusted);
        assert!(client(&trust, "::ffff:192.0.2.1", &[]).trusted);
        assert!(client(&trust, "10.0.0.1", &["192.0.2.1"]).trusted);
        assert!(!client(&trust, "10.0.0.1", &["192.0.2.1, 198.51.100.1"]).trusted);
        assert!(!client(&trust, "198.51.100.1", &["192.0.2.1"]).trusted);
        assert!(!client(&trust, "10.0.0.1", &[]).trusted, "a proxy is not a sender");
    }
}
