//! How the text of a setting becomes a value.

use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use ipnet::IpNet;
use secrecy::SecretString;

/// Something that can be written in an environment variable.
pub trait Value: Sized {
    /// Whether the text must not be shown, not even where it is malformed.
    const SECRET: bool = false;

    /// Parses the text as the operator wrote it.
    ///
    /// # Errors
    ///
    /// A reason that can follow the text, such as "is not a number".
    fn parse(text: &str) -> Result<Self, String>;
}

/// A size in bytes, written with its unit: `4096B`, `256KiB`, `1MB`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Bytes(pub u64);

impl Bytes {
    /// Returns the number of bytes, saturating where memory could not hold that many anyway.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// A list of networks, written with commas: `10.0.0.0/8,::1`.
///
/// A bare address is a network of one. The empty list holds no address.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Cidrs(Vec<IpNet>);

impl Cidrs {
    /// Makes the list of `networks`.
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        Self(networks.into_iter().collect())
    }

    /// Reads one network. A bare address is a network of one.
    ///
    /// # Errors
    ///
    /// A reason that can follow what was read.
    pub fn network(text: &str) -> Result<IpNet, String> {
        network(text)
    }

    /// Tells whether one of the networks holds `address`.
    ///
    /// An IPv4 address that arrives as IPv6 (`::ffff:10.0.0.1`) is looked up as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Returns a list that holds what either of the two holds.
    #[must_use]
    pub fn and(&self, others: &Self) -> Self {
        Self(self.0.iter().chain(&others.0).copied().collect())
    }

    /// Tells whether the list holds no network.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A file of certificates (PEM), of the authorities that may vouch for a server.
///
/// There is at least one in it when the settings are read. Whoever uses it reads it again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CaFile(PathBuf);

impl CaFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Value for CaFile {
    fn parse(text: &str) -> Result<Self, String> {
        match std::fs::read_to_string(text) {
            Ok(pem) if pem.contains("-----BEGIN CERTIFICATE-----") => Ok(Self(text.into())),
            Ok(_) => Err("holds no certificate in PEM form".to_owned()),
            Err(error) => Err(format!("cannot be read: {error}")),
        }
    }
}

impl Value for String {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

impl Value for SecretString {
    const SECRET: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.into())
    }
}

impl Value for bool {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "is neither true nor false".to_owned())
    }
}

impl Value for Duration {
    fn parse(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text)
            .map_err(|_| "is not a duration with its unit, such as 500ms, 30s or 7d".to_owned())
    }
}

impl Value for Bytes {
    fn parse(text: &str) -> Result<Self, String> {
        // The library would take a bare number for bytes; here a unit is always written.
        let size: Option<ByteSize> = text.parse().ok();
        size.filter(|_| text.ends_with(|last: char| last.is_ascii_alphabetic()))
            .map(|size| Self(size.as_u64()))
            .ok_or_else(|| "is not a size with its unit, such as 4096B or 256KiB".to_owned())
    }
}

impl Value for Cidrs {
    fn parse(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(network).collect::<Result<_, _>>().map(Self)
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    let network: IpNet = text
        .parse()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| format!("has {text:?}, which is no network such as 10.0.0.0/8"))?;
    match network {
        // Addresses are compared in their IPv4 form, so this would never match.
        IpNet::V6(it) if it.addr().to_ipv4_mapped().is_some() => {
            Err(format!("has {text:?}: write an IPv4 network as IPv4"))
        }
        network => Ok(network),
    }
}

macro_rules! from_str {
    ($reason:literal: $($kind:ty),+) => {$(
        impl Value for $kind {
            fn parse(text: &str) -> Result<Self, String> {
                text.parse().map_err(|_| $reason.to_owned())
            }
        }
    )+};
}

from_str!("is not a whole number in range": u16, u32, u64, usize);
from_str!("is not a whole number of 1 or more": NonZeroU32, NonZeroU64, NonZeroUsize);
from_str!("is not an address with a port, such as 0.0.0.0:8080": SocketAddr);
