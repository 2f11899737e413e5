//! Every way in which an event can be refused, as players are told of it, and which of them each way in
//! has.

use std::collections::BTreeMap;

use service_kit::openapi::{Failure, failures};
use utoipa::{IntoResponses, openapi};

macro_rules! failures {
    ($($name:ident: $status:literal $code:literal, $when:literal;)+) => {$(
        pub(crate) const $name: Failure = Failure::new($status, $code, $when);
    )+};
}

failures! {
    INVALID_JSON: 400 "invalid_json", "The body is not JSON, or JSON of another kind.";
    MISSING_FIELD: 400 "missing_field", "A field is missing.";
    INVALID_FIELD: 400 "invalid_field", "A field is mistyped or out of range.";
    DUPLICATE_FIELD: 400 "duplicate_field", "A field stands there twice.";
    CONTRADICTING_FIELDS: 400 "contradicting_fields",
        "Two names of one field say different things.";
    TIMESTAMP_IN_FUTURE: 400 "timestamp_in_future", "The timestamp is too far ahead.";
    TIMESTAMP_TOO_OLD: 400 "timestamp_too_old", "The timestamp is too old.";
    CORRUPT_BODY: 400 "corrupt_body", "The body is not what its content encoding says.";
    INCOMPLETE_BODY: 400 "incomplete_body", "The body could not be read to its end.";
    INVALID_SIGNATURE: 403 "invalid_signature",
        "The link was not signed by us, or was changed since.";
    LINKS_NOT_SET_UP: 404 "links_not_set_up", "Click-through links are not set up here.";
    BODY_TOO_SLOW: 408 "body_too_slow", "The body did not arrive in time.";
    LINK_EXPIRED: 410 "link_expired", "The link has expired.";
    BODY_TOO_LARGE: 413 "body_too_large", "The body is too large, as it comes or unpacked.";
    TOO_MANY_EVENTS: 413 "too_many_events", "The batch has more than 500 events.";
    QUERY_TOO_LONG: 414 "query_too_long", "The query is longer than 8192 bytes.";
    UNSUPPORTED_MEDIA_TYPE: 415 "unsupported_media_type", "The body is of another media type.";
    UNSUPPORTED_ENCODING: 415 "unsupported_encoding", "The body is packed in another way.";
}

pub(crate) const RATE_LIMITED: Failure =
    Failure::new(429, "rate_limited", "There were too many requests from this address.").passing();
pub(crate) const OVERLOADED: Failure = Failure::OVERLOADED;
pub(crate) const UNAVAILABLE: Failure = Failure::new(
    503,
    "unavailable",
    "The event could not be kept in time; sending it again is safe.",
)
.passing();

/// What is wrong with the fields of an event.
const OF_FIELDS: [Failure; 6] = [
    MISSING_FIELD,
    INVALID_FIELD,
    DUPLICATE_FIELD,
    CONTRADICTING_FIELDS,
    TIMESTAMP_IN_FUTURE,
    TIMESTAMP_TOO_OLD,
];

/// What is wrong with a body, whatever its events are.
const OF_A_BODY: [Failure; 7] = [
    INVALID_JSON,
    CORRUPT_BODY,
    INCOMPLETE_BODY,
    BODY_TOO_SLOW,
    BODY_TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    UNSUPPORTED_ENCODING,
];

/// What may pass.
const OF_KEEPING: [Failure; 3] = [RATE_LIMITED, OVERLOADED, UNAVAILABLE];

/// Every way in which one event can be refused, whichever way it came.
pub(crate) fn of_events() -> impl Iterator<Item = Failure> {
    let of_links = [INVALID_SIGNATURE, LINKS_NOT_SET_UP, LINK_EXPIRED, QUERY_TOO_LONG];
    OF_FIELDS.into_iter().chain(OF_A_BODY).chain(of_links).chain(OF_KEEPING)
}

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident: $($these:expr),+;)+) => {$(
        $(#[$doc])*
        pub(crate) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, openapi::RefOr<openapi::Response>> {
                let these = [$(&$these[..]),+, &[Failure::INTERNAL]].concat();
                failures(&these)
            }
        }
    )+};
}

refusals! {
    /// Of one event in a body.
    OfAnEvent: OF_FIELDS, OF_A_BODY, OF_KEEPING;
    /// Of a whole batch.
    OfABatch: OF_A_BODY, [TOO_MANY_EVENTS], OF_KEEPING;
    /// Of one event in a query.
    OfAPixel: OF_FIELDS, [QUERY_TOO_LONG], OF_KEEPING;
    /// Of a link.
    OfALink: [
        MISSING_FIELD, INVALID_FIELD, DUPLICATE_FIELD,
        INVALID_SIGNATURE, LINKS_NOT_SET_UP, LINK_EXPIRED, QUERY_TOO_LONG
    ];
}
