//! What the public routes promise, in a machine's words.

pub(crate) mod failures;
mod limits;

use proto_schemas::AdId;
use serde::Serialize;
use service_kit::openapi::Contract;
use utoipa::{
    IntoParams, OpenApi, ToSchema,
    openapi::{
        Object, ObjectBuilder, Ref, RefOr, Schema,
        schema::{SchemaType, Type},
    },
};

use self::limits::LimitHeaders;
use crate::routes::{batch, click_through, pixel, single};

const DESCRIPTION: &str = "\
    Takes clicks and impressions of video ads. An event that is answered with success is counted \
    exactly once, however often it is sent again: two events are the same where kind, `ad_id`, \
    `timestamp` and `event_id` are the same; without an `event_id`, the viewer's address takes its \
    place. So send an `event_id`, and send the same again after 408, 429, 503, a timeout or a broken \
    connection.\n\n\
    Other methods of a route are answered with 405 and an `Allow` header, other routes with 404; \
    both have the shape of an error, with the codes `method_not_allowed` and `not_found`. A body may \
    be packed with gzip, brotli or zstd.";

#[derive(OpenApi)]
#[openapi(
    info(title = "ingest-api", description = DESCRIPTION),
    paths(
        single::click,
        single::impression,
        batch::events,
        pixel::click,
        pixel::impression,
        click_through::follow,
    ),
    modifiers(&LimitHeaders)
)]
pub(crate) struct Described;

/// The contract of the public routes.
pub(crate) fn contract() -> Contract {
    Contract::new(Described::openapi())
}

/// One click or impression.
///
/// Fields that are not known are ignored; an optional one that is null or empty counts as absent.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "ad_id": 1,
    "timestamp": "2025-04-15T16:55:00Z",
    "event_id": "b7f1c9d2-1",
    "playback_time": 12.5,
}))]
#[expect(clippy::struct_field_names, reason = "the names are those of the API")]
pub(crate) struct Event {
    /// The ad, written in digits only.
    #[schema(schema_with = ad_id)]
    ad_id: u64,
    /// When it happened, by the player's clock. A retry must repeat it.
    #[schema(format = DateTime)]
    timestamp: String,
    /// The player's own id of this event: visible ASCII characters. A retry must repeat it.
    #[schema(pattern = "^[!-~]{0,64}$")]
    event_id: Option<String>,
    /// Seconds into the video. Also `video_playback_time`.
    #[schema(schema_with = playback_time)]
    playback_time: Option<f64>,
    /// The viewer's address, IPv4 or IPv6. It counts only from senders whom the operator trusts, and
    /// otherwise is ignored. Also `ip_address`.
    ip: Option<String>,
}

/// One event of a batch.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({
    "type": "click",
    "ad_id": 1,
    "timestamp": "2025-04-15T16:55:00Z",
    "event_id": "b7f1c9d2-1",
}))]
pub(crate) struct TypedEvent {
    /// What the viewer did.
    #[serde(rename = "type")]
    kind: Kind,
    #[serde(flatten)]
    event: Event,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "only described")]
pub(crate) enum Kind {
    Click,
    Impression,
}

/// A batch: 500 events at most.
#[derive(Serialize, ToSchema)]
#[schema(max_items = 500)]
pub(crate) struct Batch(Vec<TypedEvent>);

/// How the body is packed.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only described")]
pub(crate) struct Packed {
    /// How the body is packed; absent where it is not.
    #[param(rename = "Content-Encoding", required = false, inline)]
    content_encoding: ContentEncoding,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "only described")]
pub(crate) enum ContentEncoding {
    Gzip,
    Br,
    Zstd,
    Identity,
}

/// An event in a query. A macro of VAST that the player has left as it was, or has filled in with -1 or
/// -2, counts as absent.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described")]
pub(crate) struct EventQuery {
    /// The ad.
    #[param(schema_with = ad_id, required = true)]
    ad_id: u64,
    /// When it happened: RFC 3339, or the looser form that `[TIMESTAMP]` may have. Without it the
    /// server's clock counts, and a retry is another event.
    #[param(example = "2025-04-15T16:55:00Z")]
    ts: Option<String>,
    /// The player's own id of this event: visible ASCII characters.
    #[param(pattern = "^[!-~]{0,64}$")]
    event_id: Option<String>,
    /// Seconds into the video, or `HH:MM:SS.mmm`, as `[ADPLAYHEAD]` and `[CONTENTPLAYHEAD]` are. What
    /// cannot be read is ignored.
    #[param(example = "00:00:12.500")]
    playback_time: Option<String>,
    /// The viewer's address; it counts only from senders whom the operator trusts.
    ip: Option<String>,
    /// Ignored: for `[CACHEBUSTING]`.
    cb: Option<String>,
}

/// What a link says beside the event.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described")]
pub(crate) struct LinkQuery {
    /// Where the click leads: a web address.
    #[param(format = "uri")]
    to: String,
    /// The signature over the ad, `to` and `exp`, as `adctl link` makes it.
    sig: String,
    /// When the link ends, in seconds since 1970.
    #[param(minimum = 0)]
    exp: Option<u64>,
}

fn ad_id() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(1))
        .maximum(Some(AdId::MAX))
        .description(Some("The ad, written in digits only."))
        .examples([1])
        .build()
}

fn playback_time() -> Object {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Number, Type::Null]))
        .minimum(Some(0))
        .maximum(Some(86_400))
        .description(Some("Seconds into the video. Also `video_playback_time`."))
        .build()
}

/// The codes of errors, which the contract adds.
pub(crate) fn error_code() -> RefOr<Schema> {
    Ref::from_schema_name("ErrorCode").into()
}

#[cfg(test)]
mod tests {
    use service_kit::openapi::differences;

    use super::*;
    use crate::api::ROUTES;

    #[test]
    fn the_contract_has_every_status_of_every_route_and_no_other() {
        assert_eq!(differences(&ROUTES, &Described::openapi()), Vec::<String>::new());
    }
}
