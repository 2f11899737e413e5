//! A file of ads: `id,image_url,target_url`, and perhaps a title and a video.

use std::{collections::HashMap, path::Path};

use anyhow::{anyhow, bail};
use click_store::{Ad, Media};
use proto_schemas::AdId;

use super::fields;
use crate::csv_file::{CsvFile, OtherColumns};

/// Most ads that one file may hold: all of them are in memory, and go to Postgres in one statement.
const MAX_ADS: usize = 100_000;

/// The columns of a file.
const COLUMNS: [&str; 8] = [
    "id",
    "image_url",
    "target_url",
    "title",
    "media_url",
    "media_type",
    "media_duration",
    "media_size",
];

/// How many of them every file has.
const REQUIRED: usize = 3;

/// Reads all ads of a file.
///
/// # Errors
///
/// The first line that is wrong, and what is wrong with it.
pub(super) fn read(path: &Path, active: bool) -> anyhow::Result<Vec<Ad>> {
    let mut file = CsvFile::open_with_optional(path, COLUMNS, REQUIRED, OtherColumns::Refused)?;
    let mut lines: HashMap<AdId, u64> = HashMap::new();
    let mut ads = Vec::new();

    let mut parse = |line, [id, image_url, target_url, title, media @ ..]: [&str; 8]| {
        let ad = Ad {
            id: field("id", id, fields::ad_id)?,
            title: match title {
                "" => None,
                title => Some(field("title", title, fields::title)?),
            },
            image_url: field("image_url", image_url, fields::web_url)?,
            target_url: field("target_url", target_url, fields::web_url)?,
            media: parse_media(media)?,
            active,
        };
        if let Some(earlier) = lines.insert(ad.id, line) {
            bail!("ad {id} stands in line {earlier} already");
        }
        if lines.len() > MAX_ADS {
            bail!("a file holds at most {MAX_ADS} ads; split it");
        }
        Ok(ad)
    };
    while let Some(ad) = file.next_row(&mut parse)? {
        ads.push(ad);
    }
    Ok(ads)
}

/// Reads the columns of the video: all of them, or none.
fn parse_media([url, media_type, duration, size]: [&str; 4]) -> anyhow::Result<Option<Media>> {
    if [url, media_type, duration, size].iter().all(|it| it.is_empty()) {
        return Ok(None);
    }
    let (width, height) = field("media_size", size, fields::media_size)?;
    Ok(Some(Media {
        url: field("media_url", url, fields::web_url)?,
        media_type: field("media_type", media_type, fields::media_type)?,
        duration: field("media_duration", duration, fields::media_duration)?,
        width,
        height,
    }))
}

fn field<T>(
    name: &str,
    value: &str,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> anyhow::Result<T> {
    read(value).map_err(|problem| anyhow!("{name} {value:?}: {problem}"))
}
