//! `adctl ads add`: registers one ad, or those of a file.

use std::path::PathBuf;

use clap::Args;
use click_store::{Ad, ads};
use proto_schemas::AdId;

use super::{fields, file, forget_active_ads};
use crate::{
    connections::{PostgresAt, RedisAt},
    output,
};

/// Register one ad, or those of a CSV file
///
/// Ads that are there already are left as they are. Events of an ad count only once it is
/// registered: until then they go to the dead letters.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    adctl ads add --file data/ads.csv      (columns id,image_url,target_url)\n  \
    adctl ads add --id 35 --image-url https://example.com/35.jpg \
    --target-url https://example.com/35")]
pub(crate) struct Add {
    /// The new ad's number
    #[arg(
        long,
        value_name = "N",
        value_parser = fields::ad_id,
        required_unless_present = "file",
        requires_all = ["image_url", "target_url"]
    )]
    id: Option<AdId>,
    /// What the player shows
    #[arg(long, value_name = "URL", value_parser = fields::web_url, requires = "id")]
    image_url: Option<String>,
    /// Where a click leads
    #[arg(long, value_name = "URL", value_parser = fields::web_url, requires = "id")]
    target_url: Option<String>,
    /// A CSV file of ads with the columns `id,image_url,target_url`: all of them, or none if
    /// a line is wrong
    #[arg(long, value_name = "CSV", conflicts_with_all = ["id", "image_url", "target_url"])]
    file: Option<PathBuf>,
    /// Do not tell players of them yet
    #[arg(long)]
    inactive: bool,
    #[command(flatten)]
    postgres: PostgresAt,
    #[command(flatten)]
    redis: RedisAt,
}

impl Add {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let active = !self.inactive;
        let new = match (self.file, self.id, self.image_url, self.target_url) {
            (Some(path), ..) => file::read(&path, active)?,
            (None, Some(id), Some(image_url), Some(target_url)) => {
                vec![Ad { id, image_url, target_url, active }]
            }
            _ => unreachable!("clap asks for a file or for all three"),
        };

        let added = ads::add(&self.postgres.pool()?, &new)
            .await
            .map_err(|error| self.postgres.explain(error))?;
        if added > 0 {
            forget_active_ads(&self.redis).await;
        }
        let there = u64::try_from(new.len())?.saturating_sub(added);
        output::result(format_args!("{added} added, {there} already there"))?;
        Ok(())
    }
}
