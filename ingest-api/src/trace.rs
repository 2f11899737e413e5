//! The W3C trace context that a record carries on.

use std::num::{NonZeroU64, NonZeroU128};

use axum::http::HeaderMap;

/// Length of a version 00 header: `00-<32 hex>-<16 hex>-<2 hex>`.
const LEN: usize = 55;

/// Returns the request's `traceparent`, or the root of a new trace where it has no well-formed one.
///
/// A new root is not sampled (flags 00), because nobody records its spans.
pub(crate) fn traceparent(headers: &HeaderMap) -> String {
    let mut values = headers.get_all("traceparent").iter();
    let incoming = values.next().filter(|_| values.next().is_none());
    incoming.and_then(|it| well_formed(it.to_str().ok()?)).unwrap_or_else(root)
}

/// Reads a header of this version or, as the specification asks, what this version knows of a later
/// one.
fn well_formed(text: &str) -> Option<String> {
    let known = text.get(..LEN)?;
    let mut parts = known.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let parts_and_lengths = [(version, 2), (trace, 32), (span, 16), (flags, 2)];
    let shaped =
        parts_and_lengths.iter().all(|(part, len)| part.len() == *len && is_lower_hex(part));
    let set = !is_zero(trace) && !is_zero(span);
    let ends_here = match version {
        "00" => text.len() == LEN,
        "ff" => false,
        _later => text.len() == LEN || text[LEN..].starts_with('-'),
    };

    let valid = shaped && set && ends_here && parts.next().is_none();
    valid.then(|| format!("00-{trace}-{span}-{flags}"))
}

fn root() -> String {
    let (trace, span): (NonZeroU128, NonZeroU64) = (rand::random(), rand::random());
    format!("00-{trace:032x}-{span:016x}-00")
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_zero(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    const INCOMING: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn from(values: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("traceparent", value.parse().expect("a header"));
        }
        traceparent(&headers)
    }

    #[test]
    fn a_well_formed_trace_goes_on() {
        assert_eq!(from(&[INCOMING]), INCOMING);
    }

    #[test]
    fn a_later_version_goes_on_as_the_one_that_is_known() {
        let later = INCOMING.replacen("00", "01", 1);

        assert_eq!(from(&[&later]), INCOMING);
        assert_eq!(from(&[&format!("{later}-more")]), INCOMING);
    }

    #[test]
    fn anything_else_starts_a_new_trace_that_nobody_samples() {
        let malformed = [
            String::new(),
            "00".to_owned(),
            INCOMING.to_uppercase(),
            INCOMING.replacen("00", "ff", 1),
            INCOMING.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            INCOMING.replace("b7ad6b7169203331", &"0".repeat(16)),
            INCOMING.replace('-', "_"),
            format!("{INCOMING}-more"),
            format!("{}more", INCOMING.replacen("00", "01", 1)),
            INCOMING[..54].to_owned(),
        ];

        for text in &malformed {
            let root = from(&[text]);
            assert_ne!(&root, text);
            assert!(root.ends_with("-00"), "{root}");
            assert_eq!(well_formed(&root).as_deref(), Some(root.as_str()));
        }
        assert!(from(&[]).starts_with("00-"));
    }

    #[test]
    fn two_headers_are_none() {
        assert_ne!(from(&[INCOMING, INCOMING]), INCOMING);
    }

    #[test]
    fn every_new_trace_is_another_one() {
        assert_ne!(from(&[]), from(&[]));
    }
}
