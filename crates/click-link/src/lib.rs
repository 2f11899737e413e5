//! Links that lead a viewer to an advertiser and count the click. Knows no HTTP.
//!
//! A link is signed, so that whoever follows links of ours is led only where we want it: the service
//! behind it would be an open redirect otherwise. What is signed is the text
//!
//! ```text
//! ads.click-link.v1
//! <ad id>
//! <expiry in seconds since 1970, or nothing>
//! <target URL>
//! ```
//!
//! with a newline after each line but the last. The signature is its HMAC-SHA256, with the key's text
//! as the key, in hexadecimal digits.

mod key;
mod link;
mod target;

pub use crate::{
    key::{LinkKey, LinkKeys, ShortKey},
    link::{Link, Signature},
    target::{NoTarget, Target},
};
