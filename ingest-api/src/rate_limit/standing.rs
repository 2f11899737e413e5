//! What a client is told of its limits: the headers `RateLimit-Policy` and `RateLimit`.

use std::{
    convert::Infallible,
    fmt::{self, Write as _},
    time::Duration,
};

use axum::{
    http::{HeaderName, HeaderValue},
    response::{IntoResponseParts, ResponseParts},
};
use proto_schemas::Kind;

use super::{
    Layer,
    gcra::{Left, Limit},
};

/// Structured fields of draft-ietf-httpapi-ratelimit-headers-10.
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");

/// Every limit that a request met, and what is left of it.
///
/// Of a limit that a batch met several times, for several ads, it is the least that is left.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Standing(Vec<Entry>);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Entry {
    kind: Kind,
    layer: Layer,
    limit: Limit,
    left: Left,
}

impl Standing {
    pub(super) fn note(&mut self, kind: Kind, layer: Layer, limit: Limit, left: Left) {
        let known = self.0.iter_mut().find(|it| (it.kind, it.layer) == (kind, layer));
        match known {
            Some(entry) if entry.left.remaining < left.remaining => {}
            Some(entry) => *entry = Entry { left, ..*entry },
            None => self.0.push(Entry { kind, layer, limit, left }),
        }
    }

    /// `q` events in `w` seconds, for each limit.
    fn policy(&self) -> String {
        self.list(|list, it| {
            let window = seconds(Duration::from_micros(it.limit.window()));
            write!(list, "q={};w={window}", it.limit.burst)
        })
    }

    /// `r` more events now, all of them again in `t` seconds, for each limit.
    fn state(&self) -> String {
        self.list(|list, it| {
            write!(list, "r={};t={}", it.left.remaining, seconds(it.left.whole_in))
        })
    }

    /// A list of strings with parameters (RFC 9651).
    fn list(&self, parameters: impl Fn(&mut String, &Entry) -> fmt::Result) -> String {
        /// Enough for the limits of one kind.
        const BYTES: usize = 64;
        let mut list = String::with_capacity(BYTES);
        for entry in &self.0 {
            list.push_str(if list.is_empty() { "\"" } else { ", \"" });
            list.push_str(entry.name());
            list.push_str("\";");
            // Writing to a string cannot fail.
            parameters(&mut list, entry).ok();
        }
        list
    }
}

impl IntoResponseParts for Standing {
    type Error = Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Infallible> {
        if !self.0.is_empty() {
            for (name, value) in [(POLICY, self.policy()), (STATE, self.state())] {
                // Digits and letters, so it is a header's value.
                if let Ok(value) = HeaderValue::try_from(value) {
                    parts.headers_mut().insert(name, value);
                }
            }
        }
        Ok(parts)
    }
}

impl Entry {
    fn name(&self) -> &'static str {
        match (self.kind, self.layer) {
            (Kind::Click, Layer::Address) => "clicks",
            (Kind::Click, Layer::Ad) => "clicks-per-ad",
            (Kind::Impression, Layer::Address) => "impressions",
            (Kind::Impression, Layer::Ad) => "impressions-per-ad",
        }
    }
}

/// Rounded up.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn limit(per_minute: u32, burst: u32) -> Limit {
        let positive = |it| NonZeroU32::new(it).expect("positive");
        Limit { per_minute: positive(per_minute), burst: positive(burst) }
    }

    /// What is left of a limit after `taken` events.
    fn left(limit: Limit, taken: u64) -> Left {
        limit.left(taken * limit.interval(), 0)
    }

    #[test]
    fn each_limit_is_told_by_its_quota_and_what_is_left_of_it() {
        let (all, one_ad) = (limit(10, 10), limit(1, 3));
        let mut standing = Standing::default();
        standing.note(Kind::Click, Layer::Address, all, left(all, 1));
        standing.note(Kind::Click, Layer::Ad, one_ad, left(one_ad, 3));

        assert_eq!(standing.policy(), r#""clicks";q=10;w=60, "clicks-per-ad";q=3;w=180"#);
        assert_eq!(standing.state(), r#""clicks";r=9;t=6, "clicks-per-ad";r=0;t=180"#);
    }

    #[test]
    fn of_a_limit_that_was_met_more_than_once_the_least_is_told() {
        let limit = limit(600, 600);
        let mut standing = Standing::default();
        for taken in [3, 5, 4] {
            standing.note(Kind::Impression, Layer::Ad, limit, left(limit, taken));
        }

        assert_eq!(standing.state(), r#""impressions-per-ad";r=595;t=1"#);
    }

    #[test]
    fn where_nothing_is_limited_nothing_is_told() {
        let response = axum::response::IntoResponse::into_response((Standing::default(), ""));

        assert!(!response.headers().contains_key("ratelimit"));
        assert!(!response.headers().contains_key("ratelimit-policy"));
    }
}
