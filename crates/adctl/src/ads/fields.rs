//! The fields of an ad as an operator writes them.

use std::time::Duration;

use proto_schemas::AdId;
use reqwest::Url;
use service_kit::settings::Value as _;

/// Longest URL that is taken, in bytes: what every browser and proxy still carries.
const MAX_URL_BYTES: usize = 2000;

/// Longest title that is taken, in characters.
const MAX_TITLE_CHARS: usize = 200;

/// Reads an ad's id.
pub(crate) fn ad_id(text: &str) -> Result<AdId, String> {
    text.parse()
        .ok()
        .and_then(AdId::new)
        .ok_or_else(|| "an ad id is a whole number from 1 to 9007199254740991".to_owned())
}

/// Checks an http or https URL, which is kept as it is written.
pub(crate) fn web_url(text: &str) -> Result<String, String> {
    if text.len() > MAX_URL_BYTES {
        return Err(format!("a URL has at most {MAX_URL_BYTES} bytes"));
    }
    // The parser would drop them in silence.
    if text.contains(|it: char| it.is_whitespace() || it.is_control()) {
        return Err("a URL holds no spaces".to_owned());
    }
    match Url::parse(text) {
        Ok(url) if ["http", "https"].contains(&url.scheme()) => Ok(text.to_owned()),
        Ok(url) => Err(format!("a URL begins with http:// or https://, not {}:", url.scheme())),
        Err(error) => Err(format!("no URL ({error})")),
    }
}

/// Checks a title, which is kept as it is written.
pub(super) fn title(text: &str) -> Result<String, String> {
    if text.trim().is_empty() || text.chars().any(char::is_control) {
        return Err("a title is one line that is not empty".to_owned());
    }
    if text.chars().count() > MAX_TITLE_CHARS {
        return Err(format!("a title has at most {MAX_TITLE_CHARS} characters"));
    }
    Ok(text.to_owned())
}

/// Checks the media type of a video.
pub(super) fn media_type(text: &str) -> Result<String, String> {
    let is_token = |part: &str| {
        let may_stand = |it: char| it.is_ascii_alphanumeric() || "!#$&-^_.+".contains(it);
        (1..=100).contains(&part.len()) && part.chars().all(may_stand)
    };
    match text.split_once('/') {
        Some((kind, subtype)) if is_token(kind) && is_token(subtype) => Ok(text.to_owned()),
        _ => Err("a media type has two parts, such as video/mp4".to_owned()),
    }
}

/// Reads the length of a video.
pub(super) fn media_duration(text: &str) -> Result<Duration, String> {
    let duration = Duration::parse(text)?;
    let day = Duration::from_hours(24);
    let whole = duration.subsec_nanos().is_multiple_of(1_000_000) && !duration.is_zero();
    if whole && duration < day {
        Ok(duration)
    } else {
        Err("a video lasts whole milliseconds, from 1ms to below one day".to_owned())
    }
}

/// Reads the width and the height of a video.
pub(super) fn media_size(text: &str) -> Result<(u16, u16), String> {
    let pixels = |text: &str| text.parse().ok().filter(|&it: &u16| it > 0);
    text.split_once('x')
        .and_then(|(width, height)| Some((pixels(width)?, pixels(height)?)))
        .ok_or_else(|| "a size is the width and the height in pixels, such as 1280x720".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_web_addresses_are_urls_of_ads() {
        for good in ["https://example.com/ad1.jpg?x=1#y", "http://127.0.0.1:8000/é"] {
            assert_eq!(web_url(good).as_deref(), Ok(good));
        }
        let long = format!("https://example.com/{}", "x".repeat(MAX_URL_BYTES));
        for bad in ["", "example.com/ad1.jpg", "ftp://example.com/", "javascript:alert(1)"] {
            assert!(web_url(bad).is_err(), "{bad}");
        }
        for bad in ["https://", "https://example.com/a b", "https://example.com/\n", &long] {
            assert!(web_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_ad_id_is_a_positive_number_of_53_bits() {
        assert_eq!(ad_id("9007199254740991").map(AdId::get), Ok(AdId::MAX));
        for bad in ["", "0", "-1", "1.5", "x", "9007199254740992"] {
            assert!(ad_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_title_is_one_line() {
        assert_eq!(title("Spring <sale> & more").as_deref(), Ok("Spring <sale> & more"));
        for bad in ["", " ", "a\nb", "\u{0}", &"x".repeat(MAX_TITLE_CHARS + 1)] {
            assert!(title(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_media_type_has_two_parts() {
        for good in ["video/mp4", "application/vnd.apple.mpegurl", "video/x-ms-wmv"] {
            assert_eq!(media_type(good).as_deref(), Ok(good));
        }
        for bad in ["", "mp4", "video/", "/mp4", "video/mp4; codecs=x", "video/mp4/x"] {
            assert!(media_type(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_video_lasts_less_than_a_day() {
        assert_eq!(media_duration("1m 15s 500ms"), Ok(Duration::from_millis(75_500)));
        for bad in ["", "30", "0s", "1d", "1500us", "-1s"] {
            assert!(media_duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_size_is_two_numbers_of_pixels() {
        assert_eq!(media_size("1280x720"), Ok((1280, 720)));
        for bad in ["", "1280", "1280x", "x720", "0x720", "1280x720x1", "70000x1", "1280 x 720"] {
            assert!(media_size(bad).is_err(), "{bad:?}");
        }
    }
}
