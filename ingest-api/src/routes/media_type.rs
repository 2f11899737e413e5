//! What a body says that it is.

use axum::http::{HeaderMap, header};

use crate::error::Refusal;

/// How the events of a body are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum MediaType {
    /// `application/json`, or `text/plain`: what `navigator.sendBeacon` and `fetch` send without
    /// asking for permission first.
    Json,
    /// `application/x-ndjson`.
    JsonLines,
}

/// Types that a route takes, and how it tells so.
pub(super) type Accepted = (&'static [MediaType], &'static str);

/// What a single event may be.
pub(super) const OF_AN_EVENT: Accepted = (&[MediaType::Json], "application/json or text/plain");

/// What a batch may be.
pub(super) const OF_A_BATCH: Accepted = (
    &[MediaType::Json, MediaType::JsonLines],
    "application/json, text/plain or application/x-ndjson",
);

impl MediaType {
    /// Reads the type, whatever its parameters say: a body is UTF-8 or it is refused later.
    ///
    /// # Errors
    ///
    /// Where it is not one of `accepted`.
    pub(super) fn of(headers: &HeaderMap, accepted: Accepted) -> Result<Self, Refusal> {
        let value = headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
        let media_type = value.and_then(|it| it.split(';').next());
        let is = |name| media_type.is_some_and(|it| it.trim().eq_ignore_ascii_case(name));
        let found = if is("application/json") || is("text/plain") {
            Some(Self::Json)
        } else if is("application/x-ndjson") {
            Some(Self::JsonLines)
        } else {
            None
        };
        let (accepted, in_words) = accepted;
        found.filter(|it| accepted.contains(it)).ok_or(Refusal::MediaType(in_words))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn found(headers: &[(&'static str, &'static str)]) -> Option<MediaType> {
        let mut map = HeaderMap::new();
        for &(name, value) in headers {
            map.insert(name, HeaderValue::from_static(value));
        }
        MediaType::of(&map, OF_A_BATCH).ok()
    }

    #[test]
    fn json_and_plain_text_are_accepted_with_any_parameters() {
        for media_type in [
            "application/json",
            "application/json; charset=utf-8",
            "Application/JSON;charset=\"UTF-8\"",
            "text/plain",
            "text/plain;charset=UTF-8",
        ] {
            assert_eq!(
                found(&[("content-type", media_type)]),
                Some(MediaType::Json),
                "{media_type}"
            );
        }
    }

    #[test]
    fn lines_of_json_are_for_batches() {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/x-ndjson"));

        assert_eq!(MediaType::of(&headers, OF_A_BATCH).ok(), Some(MediaType::JsonLines));
        let refused = MediaType::of(&headers, OF_AN_EVENT).expect_err("one event is one object");
        assert!(refused.to_string().contains("application/json or text/plain"), "{refused}");
    }

    #[test]
    fn other_media_types_are_not() {
        assert_eq!(found(&[]), None);
        for media_type in
            ["", "application/x-www-form-urlencoded", "text/html", "application/jsonp", "text"]
        {
            assert_eq!(found(&[("content-type", media_type)]), None, "{media_type}");
        }
    }
}
