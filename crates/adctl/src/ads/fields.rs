//! The fields of an ad as an operator writes them.

use proto_schemas::AdId;
use reqwest::Url;

/// Longest URL that is taken, in bytes: what every browser and proxy still carries.
const MAX_URL_BYTES: usize = 2000;

/// Reads an ad's id.
pub(super) fn ad_id(text: &str) -> Result<AdId, String> {
    text.parse()
        .ok()
        .and_then(AdId::new)
        .ok_or_else(|| "an ad id is a whole number from 1 to 9007199254740991".to_owned())
}

/// Checks an http or https URL, which is kept as it is written.
pub(super) fn web_url(text: &str) -> Result<String, String> {
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
}
