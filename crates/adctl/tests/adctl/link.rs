//! `adctl link`. Whether the ingest service follows such links is tested there.

use crate::harness::Test;

const KEY: (&str, &str) = ("LINK_SIGNING_KEY", "0123456789abcdef0123456789abcdef");
const LINK: [&str; 7] = [
    "link",
    "--ingest",
    "https://events.example.com/in/",
    "--ad",
    "35",
    "--to",
    "https://example.com/spring?a=1&b=2",
];

#[tokio::test]
async fn a_link_is_signed_as_the_documents_say() {
    let test = Test::new("link");

    let with_expiry = [&LINK[..], &["--expires-at", "2030-03-17T17:46:40Z", "--macros"]].concat();
    let link = test.adctl_with_env(KEY, &with_expiry).await;

    assert_eq!(
        link.success(),
        "https://events.example.com/in/ads/click?ad_id=35\
         &to=https%3A%2F%2Fexample.com%2Fspring%3Fa%3D1%26b%3D2&exp=1900000000\
         &sig=3bdafea0f0dc9e902f88afb9345c010b2d7417a047269558b0310978e9b46967\
         &ts=[TIMESTAMP]&playback_time=[ADPLAYHEAD]&cb=[CACHEBUSTING]"
    );
    let for_ever = test.adctl_with_env(KEY, &LINK).await;
    let signature = "&sig=bad3b2d31133717cfd33cf1c9de3d309d48b465b19435bbabace768404a62015";
    assert!(for_ever.success().ends_with(&format!("%3D2{signature}")), "{for_ever:?}");
}

#[tokio::test]
async fn what_cannot_be_signed_is_refused() {
    let test = Test::new("nolink");

    let short = test.adctl_with_env(("LINK_SIGNING_KEY", "hush"), &LINK).await;
    assert!(short.failure().contains("LINK_SIGNING_KEY: must have at least 32 bytes"), "{short:?}");
    assert!(!short.err.contains("hush"));
    let without = test.adctl(&LINK).await;
    assert!(without.failure().contains("LINK_SIGNING_KEY: is required"), "{without:?}");
    let mut script = LINK;
    script[6] = "javascript:alert(1)";
    let script = test.adctl_with_env(KEY, &script).await;
    assert!(script.err.contains("begins with http:// or https://"), "{script:?}");
}
