//! `adctl link`: makes a link that counts a click and leads on to the advertiser.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::Args;
use click_link::{LinkKey, Target};
use proto_schemas::AdId;
use secrecy::SecretString;
use service_kit::settings::{Env, Settings, Value as _, Vars};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{ads::fields, output};

/// Make a link that counts a click and leads on to the advertiser
///
/// The ingest service follows it where it has the same key. Ad, target and expiry are signed:
/// changed, it leads nowhere. Whoever follows it again is counted again, unless the link has a
/// timestamp, such as a player writes for --macros.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    adctl link --ingest https://events.example.com --ad 35 --to https://example.com/35\n  \
    adctl link --ingest https://events.example.com --ad 35 --to https://example.com/35 \
    --expires-in 30d --macros")]
pub(crate) struct MakeLink {
    /// Where viewers reach the ingest service
    #[arg(long, value_name = "URL", value_parser = public_url)]
    ingest: String,
    /// The ad that is clicked
    #[arg(long, value_name = "N", value_parser = fields::ad_id)]
    ad: AdId,
    /// Where the link leads
    #[arg(long, value_name = "URL", value_parser = target)]
    to: Target,
    /// How long it does so [default: for ever]
    #[arg(long, value_name = "TIME", value_parser = Duration::parse)]
    expires_in: Option<Duration>,
    /// Until when it does so, such as 2030-01-01T00:00:00Z
    #[arg(long, value_name = "MOMENT", value_parser = moment, conflicts_with = "expires_in")]
    expires_at: Option<OffsetDateTime>,
    /// Add the macros of VAST that players fill in: the time, the position and a random number
    #[arg(long)]
    macros: bool,
    #[arg(
        long,
        help = "The key that the ingest service has too; better given as LINK_SIGNING_KEY or \
                LINK_SIGNING_KEY_FILE than on the command line",
        value_name = "KEY"
    )]
    signing_key: Option<SecretString>,
}

struct SigningKey(SecretString);

impl Settings for SigningKey {
    fn read(vars: &mut Vars) -> Self {
        let help = "The key that the ingest service has too";
        Self(vars.required("LINK_SIGNING_KEY", "what `openssl rand -hex 32` prints", help))
    }
}

impl MakeLink {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let key = match self.signing_key {
            Some(key) => key,
            None => Env::from_process().read::<SigningKey>()?.0,
        };
        let key = LinkKey::new(&key).context("LINK_SIGNING_KEY")?;
        let expiry = self.expires_in.map(|it| SystemTime::now() + it);
        let expiry = expiry.or(self.expires_at.map(SystemTime::from));
        let expires_at = expiry.map(|it| it.duration_since(UNIX_EPOCH).map(|it| it.as_secs()));
        let expires_at = expires_at.transpose().context("the expiry lies before 1970")?;

        let link = click_link::Link { ad: self.ad, to: self.to, expires_at };
        let macros = if self.macros { MACROS } else { "" };
        output::result(format_args!("{}{macros}", link.url(&self.ingest, &key)))?;
        Ok(())
    }
}

/// One that a player does not know counts as absent.
const MACROS: &str = "&ts=[TIMESTAMP]&playback_time=[ADPLAYHEAD]&cb=[CACHEBUSTING]";

fn public_url(text: &str) -> Result<String, String> {
    let url = fields::web_url(text)?;
    if url.contains(['?', '#']) {
        return Err("the address has nothing behind its path".to_owned());
    }
    Ok(url.trim_end_matches('/').to_owned())
}

fn target(text: &str) -> Result<Target, String> {
    // Within what a link may be long, and every browser and proxy carries.
    fields::web_url(text)?;
    Target::parse(text).map_err(|error| format!("the target {error}"))
}

fn moment(text: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| "a moment is written as 2030-01-01T00:00:00Z".to_owned())
}
