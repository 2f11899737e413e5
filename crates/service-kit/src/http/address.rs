//! What counts as one client on the internet.

use std::net::{IpAddr, Ipv4Addr};

/// What shares one allowance: an IPv4 address, or an IPv6 /64, which is the least that a household
/// or a server gets and all of which one machine can use.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum AddressKey {
    /// One address.
    V4(Ipv4Addr),
    /// The first 64 bits.
    V6([u16; 4]),
}

impl AddressKey {
    /// Returns the key of `address`. An IPv4 address in IPv6 form (`::ffff:1.2.3.4`) is the IPv4 one.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(it) => Self::V4(it),
            IpAddr::V6(it) => {
                let [a, b, c, d, ..] = it.segments();
                Self::V6([a, b, c, d])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> AddressKey {
        AddressKey::of(text.parse().expect("an address"))
    }

    #[test]
    fn ipv6_addresses_of_one_64_are_one_client() {
        assert_eq!(key("2001:db8:0:1::1"), key("2001:db8:0:1:ffff::2"));
        assert_ne!(key("2001:db8:0:1::1"), key("2001:db8:0:2::1"));
    }

    #[test]
    fn an_ipv4_address_in_ipv6_form_is_the_ipv4_one() {
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }
}
