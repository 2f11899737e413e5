//! Who may sign links.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

use crate::{Link, Signature};

/// A key to sign links with: a text of at least [`LinkKey::MIN_BYTES`].
#[derive(Clone)]
pub struct LinkKey(Hmac<Sha256>);

/// Why a text is no key. It is not shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must have at least {} bytes, as `openssl rand -hex 32` gives", LinkKey::MIN_BYTES)]
pub struct ShortKey;

impl LinkKey {
    /// As many as come out of the hash: a shorter key would be the weakest part.
    pub const MIN_BYTES: usize = 32;

    pub fn new(text: &SecretString) -> Result<Self, ShortKey> {
        let bytes = text.expose_secret().as_bytes();
        if bytes.len() < Self::MIN_BYTES {
            return Err(ShortKey);
        }
        Hmac::new_from_slice(bytes).map(Self).map_err(|_any_length_will_do| ShortKey)
    }

    pub fn sign(&self, link: &Link) -> Signature {
        Signature(self.mac(link).finalize().into_bytes().into())
    }

    fn signed(&self, link: &Link, signature: Signature) -> bool {
        // In constant time: how long it takes says nothing about the right one.
        self.mac(link).verify_slice(&signature.0).is_ok()
    }

    fn mac(&self, link: &Link) -> Hmac<Sha256> {
        self.0.clone().chain_update(link.signed_text())
    }
}

impl fmt::Debug for LinkKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("LinkKey")
    }
}

/// The keys whose links are followed: one, or while it is replaced, two.
#[derive(Clone, Debug)]
pub struct LinkKeys {
    pub current: LinkKey,
    pub previous: Option<LinkKey>,
}

impl LinkKeys {
    /// Tells whether one of the keys has signed the link. Whether it has expired is another question.
    pub fn have_signed(&self, link: &Link, signature: Signature) -> bool {
        let mut keys = std::iter::once(&self.current).chain(&self.previous);
        keys.any(|key| key.signed(link, signature))
    }
}

#[cfg(test)]
mod tests {
    use proto_schemas::AdId;

    use super::*;
    use crate::Target;

    fn key(text: &str) -> LinkKey {
        LinkKey::new(&text.into()).expect("long enough")
    }

    fn link() -> Link {
        let to = Target::parse("https://example.com/spring?a=1&b=2").expect("a target");
        Link { ad: AdId::new(35).expect("in range"), to, expires_at: Some(1_900_000_000) }
    }

    /// These never change: links that are out there carry them. They were computed with
    /// `printf '…' | openssl dgst -sha256 -hmac "$LINK_SIGNING_KEY"`, as docs/API.md shows.
    #[test]
    fn the_signature_of_these_links_is_the_same_for_ever() {
        let key = key("0123456789abcdef0123456789abcdef");

        let signature = key.sign(&link()).to_string();
        let for_ever = Link { expires_at: None, ..link() };

        assert_eq!(signature, "3bdafea0f0dc9e902f88afb9345c010b2d7417a047269558b0310978e9b46967");
        assert_eq!(
            key.sign(&for_ever).to_string(),
            "bad3b2d31133717cfd33cf1c9de3d309d48b465b19435bbabace768404a62015"
        );
    }

    #[test]
    fn a_link_is_followed_only_as_it_was_signed() {
        let keys = LinkKeys { current: key(&"k".repeat(32)), previous: None };
        let signature = keys.current.sign(&link());
        let other = |change: fn(&mut Link)| {
            let mut link = link();
            change(&mut link);
            keys.have_signed(&link, signature)
        };

        assert!(keys.have_signed(&link(), signature));
        assert!(!other(|it| it.ad = AdId::new(36).expect("in range")));
        assert!(!other(|it| it.to = Target::parse("https://example.com/").expect("a target")));
        assert!(!other(|it| it.expires_at = Some(1_900_000_001)));
        assert!(!other(|it| it.expires_at = None));
        let Signature(mut bytes) = signature;
        bytes[31] ^= 1;
        assert!(!keys.have_signed(&link(), Signature(bytes)));
    }

    #[test]
    fn while_a_key_is_replaced_links_of_both_are_followed() {
        let (old, new) = (key(&"o".repeat(32)), key(&"n".repeat(32)));
        let signatures = [old.sign(&link()), new.sign(&link())];
        let followed = |keys: LinkKeys| signatures.map(|it| keys.have_signed(&link(), it));

        let both = LinkKeys { current: new.clone(), previous: Some(old) };
        assert_eq!(followed(both), [true, true]);
        assert_eq!(followed(LinkKeys { current: new, previous: None }), [false, true]);
    }

    #[test]
    fn a_short_key_is_none_and_no_key_is_shown() {
        assert_eq!(LinkKey::new(&"x".repeat(31).into()).err(), Some(ShortKey));
        assert_eq!(format!("{:?}", key(&"secret".repeat(6))), "LinkKey");
    }
}
