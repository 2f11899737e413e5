//! Which click-through links are followed: those that are signed with a key of the operator's.

use std::time::{SystemTime, UNIX_EPOCH};

use click_link::{Link, LinkKey, LinkKeys, Signature, Target};
use secrecy::SecretString;
use service_kit::settings::{Settings, Vars};

use crate::report::{Invalid, Parameters};

/// `LINK_SIGNING_KEY` and `LINK_SIGNING_KEY_PREVIOUS`: who may sign links. Without a key none is followed.
///
/// To replace a key, make the old one the previous one in every replica, and take it away once its links
/// are no longer out there.
#[derive(Clone, Debug)]
pub struct Links(Option<LinkKeys>);

impl Settings for Links {
    fn read(vars: &mut Vars) -> Self {
        let current = key(
            vars,
            "LINK_SIGNING_KEY",
            "32 bytes or more that sign click-through links, for `adctl link` too; without it none work",
        );
        let previous = key(
            vars,
            "LINK_SIGNING_KEY_PREVIOUS",
            "The key of links that are still out there, while LINK_SIGNING_KEY replaces it",
        );
        let alone = previous.is_some() && current.is_none();
        let must = "must stand beside the LINK_SIGNING_KEY that replaces it";
        vars.check("LINK_SIGNING_KEY_PREVIOUS", !alone, must);
        Self(current.map(|current| LinkKeys { current, previous }))
    }
}

fn key(vars: &mut Vars, name: &'static str, help: &'static str) -> Option<LinkKey> {
    let text: SecretString = vars.optional(name, help)?;
    let key = LinkKey::new(&text);
    if let Err(short) = &key {
        vars.check(name, false, short.to_string());
    }
    key.ok()
}

/// Why a link is not followed. The message is shown to the viewer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotFollowed {
    #[error("Click-through links are not set up here.")]
    NotSetUp,
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error("The link was not signed by us, or was changed since.")]
    Forged,
    #[error("The link has expired.")]
    Expired,
}

impl Links {
    /// Reads a link, and checks at `now` that it is one of ours.
    pub(crate) fn checked(
        &self,
        parameters: &Parameters<'_>,
        now: SystemTime,
    ) -> Result<Link, NotFollowed> {
        let keys = self.0.as_ref().ok_or(NotFollowed::NotSetUp)?;
        let required = |name| parameters.one(name)?.ok_or(Invalid::Missing(name));
        let (to, signature) = (required("to")?, required("sig")?);
        let link = Link {
            ad: parameters.ad_id()?,
            to: Target::parse(&to).map_err(|_| Invalid::Field("to", "a web address"))?,
            expires_at: parameters.one("exp")?.map(|it| seconds(&it)).transpose()?,
        };
        let signature = Signature::parse(&signature);
        if !signature.is_some_and(|it| keys.have_signed(&link, it)) {
            return Err(NotFollowed::Forged);
        }
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if link.expires_at.is_some_and(|it| it <= now) {
            return Err(NotFollowed::Expired);
        }
        Ok(link)
    }
}

fn seconds(text: &str) -> Result<u64, Invalid> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = digits.then(|| text.parse().ok()).flatten();
    seconds.ok_or(Invalid::Field("exp", "a number of seconds since 1970"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proto_schemas::AdId;
    use service_kit::settings::Env;

    use super::*;

    const KEY: &str = "0123456789abcdef0123456789abcdef";
    const OLD: &str = "fedcba9876543210fedcba9876543210";

    fn read<const N: usize>(pairs: [(&str, &str); N]) -> Result<Links, String> {
        Env::from_pairs(pairs).read().map_err(|invalid| invalid.to_string())
    }

    fn query(key: &str, expires_at: Option<u64>) -> String {
        let to = Target::parse("https://example.com/?a=1&b=2").expect("a target");
        let link = Link { ad: AdId::new(7).expect("in range"), to, expires_at };
        let url = link.url("", &LinkKey::new(&key.into()).expect("long enough"));
        url.split_once('?').expect("a query").1.to_owned()
    }

    /// What becomes of a link at 1000 seconds past 1970.
    fn followed(query: &str) -> Result<Link, NotFollowed> {
        let links = read([("LINK_SIGNING_KEY", KEY), ("LINK_SIGNING_KEY_PREVIOUS", OLD)]);
        let parameters = Parameters::parse(query).expect("a query");
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        links.expect("fine").checked(&parameters, now)
    }

    #[test]
    fn a_link_of_either_key_is_followed_with_whatever_else_it_carries() {
        for key in [KEY, OLD] {
            let query = format!("ts=[TIMESTAMP]&{}&cb=1&event_id=e-1", query(key, Some(1001)));
            let link = followed(&query).expect("ours");
            assert_eq!(link.to.as_str(), "https://example.com/?a=1&b=2");
        }
        assert!(followed(&query(KEY, None)).is_ok());
    }

    #[test]
    fn a_link_of_somebody_else_is_not() {
        let ours = query(KEY, Some(1001));
        for forged in [
            query(&"x".repeat(32), None),
            ours.replace("ad_id=7", "ad_id=8"),
            ours.replace("example.com", "example.org"),
            ours.replace("exp=1001", "exp=1002"),
            ours.replace("exp=1001&", ""),
            format!("{}&sig=00", query(KEY, None).split("&sig=").next().expect("a part")),
            ours.replace("sig=", "sig=0"),
        ] {
            assert!(matches!(followed(&forged), Err(NotFollowed::Forged)), "{forged}");
        }
    }

    #[test]
    fn an_expired_link_is_not_followed() {
        for expiry in [0, 999, 1000] {
            let expired = followed(&query(KEY, Some(expiry)));
            assert!(matches!(expired, Err(NotFollowed::Expired)), "{expiry}");
        }
    }

    #[test]
    fn what_is_no_link_names_the_parameter() {
        let ours = query(KEY, Some(1001));
        let field = |query: &str| match followed(query) {
            Err(NotFollowed::Invalid(invalid)) => invalid.code_and_field(),
            other => panic!("{query}: {other:?}"),
        };

        assert_eq!(field("ad_id=7&sig=00"), ("missing_field", Some("to")));
        assert_eq!(field("ad_id=7&to=https://a.example/"), ("missing_field", Some("sig")));
        assert_eq!(field(&ours.replace("ad_id=7&", "")), ("missing_field", Some("ad_id")));
        assert_eq!(field(&ours.replace("ad_id=7", "ad_id=x")), ("invalid_field", Some("ad_id")));
        let script = "ad_id=7&to=javascript:alert(1)&sig=00";
        assert_eq!(field(script), ("invalid_field", Some("to")));
        for bad in ["", "-1", "+1001", "1e3", "99999999999999999999"] {
            let query = ours.replace("exp=1001", &format!("exp={bad}"));
            assert_eq!(field(&query), ("invalid_field", Some("exp")), "{bad}");
        }
        assert_eq!(field(&format!("{ours}&to=x")), ("duplicate_field", Some("to")));
    }

    #[test]
    fn without_a_key_no_link_is_followed() {
        let parameters = Parameters::parse("").expect("a query");
        let refused = read([]).expect("no key is fine").checked(&parameters, UNIX_EPOCH);
        assert!(matches!(refused, Err(NotFollowed::NotSetUp)));
    }

    #[test]
    fn a_key_is_long_and_the_previous_one_not_alone() {
        let problems = read([("LINK_SIGNING_KEY", "hush")]).expect_err("short");
        assert!(problems.starts_with("LINK_SIGNING_KEY: must have at least 32"), "{problems}");
        assert!(!problems.contains("hush"));
        let problems = read([("LINK_SIGNING_KEY_PREVIOUS", OLD)]).expect_err("alone");
        assert!(problems.starts_with("LINK_SIGNING_KEY_PREVIOUS: must stand"), "{problems}");
    }
}
