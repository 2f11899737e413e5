//! What a link says.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use proto_schemas::AdId;

use crate::{LinkKey, Target};

/// A link to an advertiser, before it is signed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Link {
    /// Whose click it is.
    pub ad: AdId,
    /// Where it leads.
    pub to: Target,
    /// Until when it does so, in seconds since 1970. `None` is for ever.
    pub expires_at: Option<u64>,
}

/// What proves that a link is ours.
#[derive(Clone, Copy)]
pub struct Signature(pub(crate) [u8; 32]);

/// Whatever could end or split a parameter.
const PARAMETER: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

impl Link {
    /// The link for viewers, where players reach the ingest service at `ingest`, a URL without a slash
    /// at its end.
    pub fn url(&self, ingest: &str, key: &LinkKey) -> String {
        let to = utf8_percent_encode(self.to.as_str(), PARAMETER);
        let expiry = self.expires_at.map(|it| format!("&exp={it}")).unwrap_or_default();
        format!("{ingest}/ads/click?ad_id={}&to={to}{expiry}&sig={}", self.ad, key.sign(self))
    }

    /// See the head of this crate. The target comes last, as it alone could hold anything.
    pub(crate) fn signed_text(&self) -> String {
        let expiry = self.expires_at.map(|it| it.to_string()).unwrap_or_default();
        format!("ads.click-link.v1\n{}\n{expiry}\n{}", self.ad, self.to.as_str())
    }
}

impl Signature {
    /// Reads 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.bytes().map(|it| char::from(it).to_digit(16));
        let digits: Vec<u8> = digits.map(|it| u8::try_from(it?).ok()).collect::<Option<_>>()?;
        let bytes: Vec<u8> = digits.chunks_exact(2).map(|it| it[0] << 4 | it[1]).collect();
        bytes.try_into().ok().filter(|_| digits.len() == 64).map(Self)
    }
}

/// Hexadecimal digits in small letters.
impl fmt::Display for Signature {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_carries_the_target_as_one_parameter() {
        let key = LinkKey::new(&"k".repeat(32).into()).expect("long enough");
        let to = Target::parse("https://example.com/a?b=c+d&e=%20#f").expect("a target");
        let link = Link { ad: AdId::new(7).expect("in range"), to, expires_at: Some(5) };

        let url = link.url("https://events.example.com/in", &key);

        let expected = "https://events.example.com/in/ads/click?ad_id=7\
                        &to=https%3A%2F%2Fexample.com%2Fa%3Fb%3Dc%2Bd%26e%3D%2520%23f&exp=5&sig=";
        let signature = url.strip_prefix(expected).expect(&url);
        assert_eq!(signature, key.sign(&link).to_string());
    }

    #[test]
    fn a_signature_is_64_hexadecimal_digits() {
        let text = "0123456789abcdef".repeat(4);

        assert_eq!(Signature::parse(&text).expect("64 digits").to_string(), text);
        assert_eq!(Signature::parse(&text.to_uppercase()).expect("64 digits").to_string(), text);
        for bad in ["", "0", &text[1..], &format!("{text}0"), &text.replace('f', "g")] {
            assert!(Signature::parse(bad).is_none(), "{bad}");
        }
        assert!(Signature::parse(&"é".repeat(32)).is_none());
    }
}
