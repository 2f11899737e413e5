//! Where a player says that an ad of a VAST document was seen and clicked.

use axum::http::Uri;
use proto_schemas::AdId;
use service_kit::settings::Value;
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};
use uuid::Uuid;

const RFC_3339_MS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// Where players reach the ingest service: `http(s)://host[:port][/path]`, without a slash at the end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PublicUrl(String);

impl Value for PublicUrl {
    fn parse(text: &str) -> Result<Self, String> {
        let is_web = |uri: &Uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some_and(|it| !it.is_empty())
                && uri.query().is_none()
        };
        let parsed: Option<Uri> = text.parse().ok();
        // The parser drops fragments in silence.
        if parsed.is_some_and(|it| is_web(&it)) && !text.contains(['#', '@']) {
            Ok(Self(text.trim_end_matches('/').to_owned()))
        } else {
            Err("is not an address for players such as https://events.example.com".to_owned())
        }
    }
}

/// The tracking URLs of one served document.
///
/// An ad that is served once is seen once: all impressions of a document are the same event, however
/// often the player says so. It may be clicked many times, and each click that the player numbers
/// (`[CACHEBUSTING]`) is one of its own; a player that knows no macros has one click a document.
///
/// The timestamp is the time of serving, by our clock, and not `[TIMESTAMP]`. That is another time
/// whenever the player says it again, so a repetition would count twice; and it is the time of a
/// viewer's device, and an event is refused where that clock is far off.
#[derive(Debug)]
pub(super) struct Tracking {
    pub(super) impression: String,
    pub(super) click: String,
}

impl Tracking {
    pub(super) fn new(
        PublicUrl(ingest): &PublicUrl,
        ad: AdId,
        serving: Uuid,
        served_at: OffsetDateTime,
    ) -> Self {
        let Ok(ts) = served_at.to_offset(time::UtcOffset::UTC).format(RFC_3339_MS) else {
            unreachable!("every part of the format is there")
        };
        let url = |pixel: &str, event: &str| {
            format!(
                "{ingest}/ads/{pixel}.gif?ad_id={ad}&ts={ts}&event_id={serving}-{event}\
                 &playback_time=[ADPLAYHEAD]&cb=[CACHEBUSTING]"
            )
        };
        Self { impression: url("impression", "i"), click: url("click", "c-[CACHEBUSTING]") }
    }
}

#[cfg(test)]
mod tests {
    use proto_schemas::EventId;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn the_urls_carry_the_serving_and_the_macros() {
        let ingest = PublicUrl::parse("https://events.example.com/in/").expect("a URL");
        let ad = AdId::new(7).expect("in range");
        let served_at = datetime!(2025-04-15 18:55:00.123456 +2);

        let tracking = Tracking::new(&ingest, ad, Uuid::from_u128(10), served_at);

        let serving = "00000000-0000-0000-0000-00000000000a";
        assert_eq!(
            tracking.impression,
            format!(
                "https://events.example.com/in/ads/impression.gif?ad_id=7\
                 &ts=2025-04-15T16:55:00.123Z&event_id={serving}-i\
                 &playback_time=[ADPLAYHEAD]&cb=[CACHEBUSTING]"
            )
        );
        assert!(tracking.click.starts_with("https://events.example.com/in/ads/click.gif?ad_id=7&"));
        // Also where the player leaves the macro as it is.
        let event_id = format!("{serving}-c-[CACHEBUSTING]");
        assert!(tracking.click.contains(&format!("&event_id={event_id}&")));
        assert!(EventId::new(event_id).is_ok());
    }

    #[test]
    fn only_a_web_address_is_a_public_url() {
        for good in ["http://127.0.0.1:8081", "https://[::1]:1/", "https://a.example/b/c"] {
            assert!(PublicUrl::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "example.com",
            "/ads",
            "ftp://example.com",
            "https://",
            "https://example.com?a=1",
            "https://example.com/#a",
            "https://user@example.com",
            "https://exa mple.com",
        ] {
            assert!(PublicUrl::parse(bad).is_err(), "{bad}");
        }
    }
}
