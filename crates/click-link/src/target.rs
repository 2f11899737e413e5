//! Where a link may lead.

use url::Url;

/// The URL of a web page, as it was written, and as browsers read it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// What is signed.
    written: String,
    location: Url,
}

/// Why a text is no target.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("is not a web address such as https://example.com/")]
pub struct NoTarget;

impl Target {
    /// Takes `http` and `https` alone: a browser would run `javascript:` on the page that it is on, and
    /// an app might do anything.
    pub fn parse(text: &str) -> Result<Self, NoTarget> {
        // The parser drops them in silence, and what is signed would be another thing than what is
        // followed.
        if text.contains(|it: char| it.is_whitespace() || it.is_control()) {
            return Err(NoTarget);
        }
        let location = Url::parse(text).map_err(|_| NoTarget)?;
        let is_web = matches!(location.scheme(), "http" | "https") && location.has_host();
        is_web.then(|| Self { written: text.to_owned(), location }).ok_or(NoTarget)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// For a `Location` header: in ASCII.
    pub fn location(&self) -> &str {
        self.location.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_web_page() {
        for (text, location) in [
            ("https://example.com", "https://example.com/"),
            ("http://example.com:8080/a?b=c#d", "http://example.com:8080/a?b=c#d"),
            ("HTTPS://EXAMPLE.com/A", "https://example.com/A"),
            ("https://exämple.com/ü?ü", "https://xn--exmple-cua.com/%C3%BC?%C3%BC"),
            ("https://[::1]/", "https://[::1]/"),
        ] {
            let target = Target::parse(text).expect(text);
            assert_eq!((target.as_str(), target.location()), (text, location));
        }
        for bad in [
            "",
            "example.com",
            "//example.com/",
            "/path",
            "https://",
            "https:///",
            "javascript:alert(1)",
            "data:text/html,x",
            "ftp://example.com/",
            "intent://example.com/",
            " https://example.com/",
            "https://example.com/\r\nSet-Cookie: a=b",
            "https://exa mple.com/",
            "java\tscript:alert(1)",
            "https://example.com:99999/",
        ] {
            assert_eq!(Target::parse(bad), Err(NoTarget), "{bad:?}");
        }
    }
}
