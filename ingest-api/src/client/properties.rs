//! What holds for every `X-Forwarded-For`, whoever wrote it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::http::{HeaderMap, HeaderValue};
use proptest::{collection::vec, prelude::*};
use service_kit::settings::{Cidrs, Value as _};

use super::{Trust, X_FORWARDED_FOR};

const PROXIES: &str = "10.0.0.0/8,fd00::/8";

fn client(peer: IpAddr, forwarded: impl IntoIterator<Item = HeaderValue>) -> IpAddr {
    let trust = Trust { proxies: proxies(), ..Trust::default() };
    let headers: HeaderMap = forwarded.into_iter().map(|it| (X_FORWARDED_FOR, it)).collect();
    trust.client(SocketAddr::new(peer, 50_000), &headers).address
}

fn proxies() -> Cidrs {
    Cidrs::parse(PROXIES).expect("networks")
}

fn proxy() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<[u8; 3]>().prop_map(|[b, c, d]| Ipv4Addr::new(10, b, c, d).into()),
        any::<u64>().prop_map(|low| Ipv6Addr::from((0xfd00 << 112) | u128::from(low)).into()),
    ]
}

fn viewer() -> impl Strategy<Value = IpAddr> {
    any::<IpAddr>()
        .prop_map(|it| it.to_canonical())
        .prop_filter("no proxy", |it| !proxies().contains(*it))
}

/// The ways in which balancers write an address.
fn written(address: IpAddr, form: usize) -> String {
    match (address, form) {
        (_, 0) => address.to_string(),
        (_, 1) => SocketAddr::new(address, 4711).to_string(),
        (IpAddr::V4(v4), _) => v4.to_ipv6_mapped().to_string(),
        (IpAddr::V6(v6), _) => format!("[{v6}]"),
    }
}

fn header_bytes() -> impl Strategy<Value = HeaderValue> {
    vec(any::<u8>(), 0..60).prop_filter_map("a header", |it| HeaderValue::from_bytes(&it).ok())
}

proptest! {
    #[test]
    fn behind_proxies_it_is_the_last_that_is_none_whatever_stands_before_it(
        peer in proxy(),
        made_up in header_bytes(),
        (viewer, form) in (viewer(), 0_usize..3),
        between in vec((proxy(), 0_usize..3, any::<bool>()), 0..4),
    ) {
        let mut headers = vec![made_up, HeaderValue::try_from(written(viewer, form)).expect("ASCII")];
        for (proxy, form, own_header) in between {
            let proxy = written(proxy, form);
            let text = if own_header {
                proxy
            } else {
                let last = headers.pop().expect("the viewer's at least");
                format!("{},\t{proxy}", last.to_str().expect("ASCII"))
            };
            headers.push(HeaderValue::try_from(text).expect("ASCII"));
        }
        prop_assert_eq!(client(peer, headers), viewer);
    }

    #[test]
    fn a_stranger_is_itself_whatever_it_says(
        peer in viewer(),
        forwarded in vec(header_bytes(), 0..4),
    ) {
        prop_assert_eq!(client(peer, forwarded), peer);
    }

    #[test]
    fn no_header_is_too_strange_to_be_looked_at(
        peer in proxy(),
        forwarded in vec(header_bytes(), 0..4),
    ) {
        let found = client(peer, forwarded.clone());
        let said = forwarded.iter().any(|it| !it.is_empty());
        prop_assert!(found == peer || (said && !proxies().contains(found)));
    }
}
