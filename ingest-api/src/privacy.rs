//! How much of a viewer's address is kept: what the operator has set, and what the viewer asks for.

use axum::http::{HeaderMap, HeaderName, header};
use proto_schemas::{DedupSecret, KeptAddress};
use secrecy::{ExposeSecret as _, SecretString};
use service_kit::settings::{Settings, Value, Vars};

const SEC_GPC: HeaderName = HeaderName::from_static("sec-gpc");

/// The rules for every event.
#[derive(Clone, Debug)]
pub struct Privacy {
    /// `IP_PRIVACY`: how much is kept. All of it by default.
    ///
    /// Where it is less, `DEDUP_KEY_SECRET` is needed.
    usual: KeptAddress,
    /// What is kept where the viewer asks for privacy, with `HONOR_PRIVACY_SIGNALS`; otherwise
    /// nobody looks.
    asked: Option<KeptAddress>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum IpPrivacy {
    Full,
    Truncate,
    None,
}

impl Value for IpPrivacy {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "full" => Ok(Self::Full),
            "truncate" => Ok(Self::Truncate),
            "none" => Ok(Self::None),
            _ => Err("is none of full, truncate and none".to_owned()),
        }
    }
}

impl Settings for Privacy {
    fn read(vars: &mut Vars) -> Self {
        let usual = vars.or(
            "IP_PRIVACY",
            "full",
            "What of a viewer's address goes on: `full`, `truncate` (its /24 or /48) or `none`",
        );
        let honor_signals = vars.or(
            "HONOR_PRIVACY_SIGNALS",
            "false",
            "Whether `none` holds for an event that is sent with `DNT: 1` or `Sec-GPC: 1`",
        );
        let secret: Option<SecretString> = vars.optional(
            "DEDUP_KEY_SECRET",
            "32 bytes or more, the same in every replica; needed where not every address is kept",
        );
        let needed = usual != IpPrivacy::Full || honor_signals;
        let must = "must be set where IP_PRIVACY is not full or HONOR_PRIVACY_SIGNALS is on";
        vars.check("DEDUP_KEY_SECRET", secret.is_some() || !needed, must);
        let secret = secret.and_then(|it| {
            let secret = DedupSecret::new(it.expose_secret().as_bytes());
            let min = DedupSecret::MIN_BYTES;
            let must = format!("must have at least {min} bytes, as `openssl rand -hex 32` gives");
            vars.check("DEDUP_KEY_SECRET", secret.is_some(), must);
            secret
        });
        // Without a secret there is a problem by now, or every address is kept.
        let Some(secret) = secret else { return Self { usual: KeptAddress::Full, asked: None } };
        Self {
            usual: match usual {
                IpPrivacy::Full => KeptAddress::Full,
                IpPrivacy::Truncate => KeptAddress::Network(secret.clone()),
                IpPrivacy::None => KeptAddress::Nothing(secret.clone()),
            },
            asked: honor_signals.then_some(KeptAddress::Nothing(secret)),
        }
    }
}

impl Privacy {
    /// What is kept of an event's address, where its sender did or did not ask for privacy.
    pub(crate) fn kept(&self, asked: bool) -> &KeptAddress {
        self.asked.as_ref().filter(|_| asked).unwrap_or(&self.usual)
    }

    /// What addresses are hashed with where not every one is kept.
    pub(crate) fn secret(&self) -> Option<&DedupSecret> {
        match self.asked.as_ref().unwrap_or(&self.usual) {
            KeptAddress::Full => None,
            KeptAddress::Network(secret) | KeptAddress::Nothing(secret) => Some(secret),
        }
    }
}

/// Whether a browser says that its user wants no tracking: `DNT: 1` (Tracking Preference
/// Expression) or `Sec-GPC: 1` (Global Privacy Control).
pub(crate) fn asks_for_privacy(headers: &HeaderMap) -> bool {
    [header::DNT, SEC_GPC].iter().any(|name| headers.get(name).is_some_and(|value| value == "1"))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use service_kit::settings::Env;

    use super::*;

    const SECRET: (&str, &str) = ("DEDUP_KEY_SECRET", "0123456789abcdef0123456789abcdef");

    fn read<const N: usize>(pairs: [(&str, &str); N]) -> Result<Privacy, String> {
        Env::from_pairs(pairs).read().map_err(|invalid| invalid.to_string())
    }

    #[test]
    fn by_default_every_address_is_kept_whatever_a_browser_says() {
        let privacy = read([]).expect("defaults are fine");

        assert!(matches!(privacy.kept(false), KeptAddress::Full));
        assert!(matches!(privacy.kept(true), KeptAddress::Full));
    }

    #[test]
    fn less_than_the_address_needs_a_secret() {
        for setting in
            [("IP_PRIVACY", "truncate"), ("IP_PRIVACY", "none"), ("HONOR_PRIVACY_SIGNALS", "true")]
        {
            let problems = read([setting]).expect_err("there is none");
            assert!(problems.starts_with("DEDUP_KEY_SECRET: must be set"), "{problems}");
            assert!(read([setting, SECRET]).is_ok());
        }
    }

    #[test]
    fn a_short_secret_is_refused_and_not_shown() {
        let problems =
            read([("IP_PRIVACY", "none"), ("DEDUP_KEY_SECRET", "hush")]).expect_err("short");

        assert_eq!(
            problems,
            "DEDUP_KEY_SECRET: must have at least 32 bytes, as `openssl rand -hex 32` gives"
        );
        assert!(read([("IP_PRIVACY", "some"), SECRET]).is_err());
    }

    #[test]
    fn a_signal_counts_where_the_operator_honors_it() {
        let deaf = read([("IP_PRIVACY", "truncate"), SECRET]).expect("fine");
        assert!(matches!(deaf.kept(true), KeptAddress::Network(_)));

        let honors = read([("HONOR_PRIVACY_SIGNALS", "true"), SECRET]).expect("fine");
        assert!(matches!(honors.kept(true), KeptAddress::Nothing(_)));
        assert!(matches!(honors.kept(false), KeptAddress::Full));
    }

    #[test]
    fn only_a_one_is_a_signal() {
        for (name, value, asks) in [
            ("dnt", "1", true),
            ("sec-gpc", "1", true),
            ("dnt", "0", false),
            ("sec-gpc", "?1", false),
            ("x-dnt", "1", false),
        ] {
            let headers = HeaderMap::from_iter([(
                name.parse().expect("a name"),
                HeaderValue::from_static(value),
            )]);
            assert_eq!(asks_for_privacy(&headers), asks, "{name}: {value}");
        }
    }
}
