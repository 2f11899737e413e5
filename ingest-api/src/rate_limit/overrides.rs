//! Limits of networks that have others than everybody.

use std::{cmp::Reverse, net::IpAddr, num::NonZeroU32};

use ipnet::IpNet;
use service_kit::settings::{Cidrs, Value};

use super::gcra::Limit;

/// What a network has instead of the usual limits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Override {
    /// No limit at all.
    Off,
    /// Limits of each of its addresses. Those for each ad are not for it: they are those of one
    /// viewer, and behind an address that needs an override there are many.
    Limits {
        clicks: Limit,
        /// As usual where there is none.
        impressions: Option<Limit>,
    },
}

/// `RATE_LIMIT_OVERRIDES`: networks and their limits, the narrowest network first.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Overrides(Vec<(IpNet, Override)>);

impl Overrides {
    /// What the narrowest network has that holds `address`.
    pub(crate) fn of(&self, address: IpAddr) -> Option<Override> {
        let address = address.to_canonical();
        self.0.iter().find(|(network, _)| network.contains(&address)).map(|&(_, it)| it)
    }
}

impl Value for Overrides {
    /// Reads `NETWORK=off`, `NETWORK=CLICKS` or `NETWORK=CLICKS:IMPRESSIONS`, separated by commas,
    /// where each limit is `PER_MINUTE/BURST`. Every part that is wrong is named.
    fn parse(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let (mut overrides, mut problems) = (Vec::new(), Vec::new());
        for part in parts {
            match entry(part) {
                Ok((network, _)) if overrides.iter().any(|(it, _)| *it == network) => {
                    problems.push(format!("has {network} twice"));
                }
                Ok(entry) => overrides.push(entry),
                Err(problem) => problems.push(format!("has {part:?}, {problem}")),
            }
        }
        if !problems.is_empty() {
            return Err(problems.join("; "));
        }
        overrides.sort_by_key(|(network, _)| Reverse(network.prefix_len()));
        Ok(Self(overrides))
    }
}

fn entry(text: &str) -> Result<(IpNet, Override), String> {
    let (network, limits) = text.split_once('=').ok_or(
        "which is not NETWORK=off or NETWORK=PER_MINUTE/BURST, such as 10.0.0.0/8=600/600",
    )?;
    let network = Cidrs::network(network.trim())?.trunc();
    let limits = limits.trim();
    if limits == "off" {
        return Ok((network, Override::Off));
    }
    let (clicks, impressions) = match limits.split_once(':') {
        Some((clicks, impressions)) => (clicks, Some(impressions)),
        None => (limits, None),
    };
    let clicks = limit(clicks)?;
    Ok((network, Override::Limits { clicks, impressions: impressions.map(limit).transpose()? }))
}

fn limit(text: &str) -> Result<Limit, String> {
    let number = |text: &str| text.trim().parse::<NonZeroU32>().ok();
    let parts = text.split_once('/');
    let limit = parts.and_then(|(rate, burst)| {
        let (per_minute, burst) = (number(rate)?, number(burst)?);
        (burst.get() <= Limit::MAX_BURST).then_some(Limit { per_minute, burst })
    });
    limit.ok_or_else(|| {
        format!("where {text:?} is no PER_MINUTE/BURST of whole numbers from 1, such as 600/600")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Overrides {
        Overrides::parse(text).expect("overrides")
    }

    fn of(overrides: &Overrides, address: &str) -> Option<Override> {
        overrides.of(address.parse().expect("an address"))
    }

    fn limit(per_minute: u32, burst: u32) -> Limit {
        let positive = |it| NonZeroU32::new(it).expect("positive");
        Limit { per_minute: positive(per_minute), burst: positive(burst) }
    }

    #[test]
    fn a_network_has_its_own_limits_or_none() {
        let overrides =
            parse(" 10.0.0.0/8=600/700, 2001:db8::/32 = off ,192.0.2.1=20/30:4000/5000,");

        let both = |clicks, impressions| Some(Override::Limits { clicks, impressions });
        assert_eq!(of(&overrides, "10.1.2.3"), both(limit(600, 700), None));
        assert_eq!(of(&overrides, "2001:db8:1::1"), Some(Override::Off));
        assert_eq!(of(&overrides, "192.0.2.1"), both(limit(20, 30), Some(limit(4000, 5000))));
        assert_eq!(of(&overrides, "192.0.2.2"), None);
        assert_eq!(of(&Overrides::default(), "192.0.2.2"), None);
    }

    #[test]
    fn the_narrowest_network_counts_wherever_it_stands() {
        let overrides = parse("10.0.0.0/8=1/1,10.1.0.0/16=off,10.1.2.3=2/2");

        assert_eq!(of(&overrides, "10.1.9.9"), Some(Override::Off));
        assert!(matches!(of(&overrides, "10.1.2.3"), Some(Override::Limits { clicks, .. })
            if clicks == limit(2, 2)));
    }

    #[test]
    fn an_ipv4_address_in_ipv6_form_is_the_ipv4_one() {
        assert_eq!(of(&parse("10.0.0.0/8=off"), "::ffff:10.1.2.3"), Some(Override::Off));
    }

    #[test]
    fn every_part_that_is_wrong_is_named() {
        let problems = Overrides::parse(
            "10.0.0.0/8,everybody=1/1,192.0.2.0/24=5,192.0.2.1=0/1,192.0.2.2=1/1:off,\
             198.51.100.0/24=on,::ffff:10.0.0.0/104=off,203.0.113.0/24=1/200000000,\
             192.0.2.9=off,192.0.2.9=1/1",
        )
        .expect_err("all wrong");

        for wrong in [
            "\"10.0.0.0/8\"",
            "everybody",
            "\"5\"",
            "\"0/1\"",
            "\"off\"",
            "\"on\"",
            "write an IPv4 network as IPv4",
            "200000000",
            "192.0.2.9/32 twice",
        ] {
            assert!(problems.contains(wrong), "{wrong} is not in {problems}");
        }
        assert_eq!(problems.matches("; ").count(), 8, "{problems}");
    }
}
