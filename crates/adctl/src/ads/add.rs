//! `adctl ads add`: registers one ad, or those of a file.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use click_store::{Ad, Media, ads};
use proto_schemas::AdId;

use super::{fields, file, forget_active_ads};
use crate::{
    connections::{PostgresAt, RedisAt},
    output,
};

/// Register one ad, or those of a CSV file
///
/// Ads that are there already are left as they are, unless --update is given. Events of an ad count
/// only once it is registered: until then they go to the dead letters. An ad with a video has a VAST
/// document for players (GET /ads/35/vast.xml).
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    adctl ads add --file data/ads.csv\n  \
    adctl ads add --id 35 --image-url https://example.com/35.jpg \
    --target-url https://example.com/35\n  \
    adctl ads add --update --id 35 --image-url https://example.com/35.jpg \
    --target-url https://example.com/35 --title \"Spring sale\" \
    --media-url https://example.com/35.mp4 --media-type video/mp4 \
    --media-duration 30s --media-size 1280x720")]
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
    /// What people call it
    #[arg(long, value_parser = fields::title, requires = "id")]
    title: Option<String>,
    #[command(flatten)]
    media: MediaArgs,
    /// A CSV file of ads with the columns `id,image_url,target_url`, and perhaps `title` and
    /// `media_url,media_type,media_duration,media_size`: all ads are added, or none if a line is
    /// wrong
    #[arg(long, value_name = "CSV", conflicts_with_all = ["id", "image_url", "target_url"])]
    file: Option<PathBuf>,
    /// Give ads that are there already everything that is said of them here; whether they are
    /// active stays as it is
    #[arg(long)]
    update: bool,
    /// Do not tell players of them yet
    #[arg(long)]
    inactive: bool,
    #[command(flatten)]
    postgres: PostgresAt,
    #[command(flatten)]
    redis: RedisAt,
}

/// The video of an ad: all of this, or nothing.
#[derive(Args, Debug)]
#[expect(clippy::struct_field_names, reason = "each is the name of a flag")]
struct MediaArgs {
    /// The video that is played
    #[arg(
        long,
        value_name = "URL",
        value_parser = fields::web_url,
        requires_all = ["id", "media_type", "media_duration", "media_size"]
    )]
    media_url: Option<String>,
    /// Its media type, such as video/mp4
    #[arg(long, value_name = "TYPE", value_parser = fields::media_type, requires = "media_url")]
    media_type: Option<String>,
    /// How long it is, such as 30s or 14s500ms
    #[arg(
        long,
        value_name = "TIME",
        value_parser = fields::media_duration,
        requires = "media_url"
    )]
    media_duration: Option<Duration>,
    /// Its width and height in pixels, such as 1280x720
    #[arg(long, value_name = "WxH", value_parser = fields::media_size, requires = "media_url")]
    media_size: Option<(u16, u16)>,
}

impl Add {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let active = !self.inactive;
        let new = match (self.file, self.id, self.image_url, self.target_url) {
            (Some(path), ..) => file::read(&path, active)?,
            (None, Some(id), Some(image_url), Some(target_url)) => {
                let (title, media) = (self.title, self.media.media());
                vec![Ad { id, title, image_url, target_url, media, active }]
            }
            _ => unreachable!("clap asks for a file or for all three"),
        };

        let pool = self.postgres.pool()?;
        let written = if self.update {
            ads::add_or_update(&pool, &new).await
        } else {
            ads::add(&pool, &new).await
        };
        let written = written.map_err(|error| self.postgres.explain(error))?;
        if written > 0 {
            forget_active_ads(&self.redis).await;
        }
        if self.update {
            output::result(format_args!("{written} added or updated"))?;
        } else {
            let there = u64::try_from(new.len())?.saturating_sub(written);
            output::result(format_args!("{written} added, {there} already there"))?;
        }
        Ok(())
    }
}

impl MediaArgs {
    /// Clap has seen to it that all of it is there, or none.
    fn media(self) -> Option<Media> {
        let (width, height) = self.media_size?;
        Some(Media {
            url: self.media_url?,
            media_type: self.media_type?,
            duration: self.media_duration?,
            width,
            height,
        })
    }
}
