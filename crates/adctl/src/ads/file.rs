//! A file of ads: `id,image_url,target_url`.

use std::{collections::HashMap, path::Path};

use anyhow::{anyhow, bail};
use click_store::Ad;
use proto_schemas::AdId;

use super::fields;
use crate::csv_file::{CsvFile, OtherColumns};

/// Most ads that one file may hold: all of them are in memory, and go to Postgres in one statement.
const MAX_ADS: usize = 100_000;

/// Reads all ads of a file.
///
/// # Errors
///
/// The first line that is wrong, and what is wrong with it.
pub(super) fn read(path: &Path, active: bool) -> anyhow::Result<Vec<Ad>> {
    let mut file = CsvFile::open(path, ["id", "image_url", "target_url"], OtherColumns::Refused)?;
    let mut lines: HashMap<AdId, u64> = HashMap::new();
    let mut ads = Vec::new();

    let mut parse = |line, [id, image_url, target_url]: [&str; 3]| {
        let in_field = |name, value| move |problem| anyhow!("{name} {value:?}: {problem}");
        let ad = Ad {
            id: fields::ad_id(id).map_err(in_field("id", id))?,
            image_url: fields::web_url(image_url).map_err(in_field("image_url", image_url))?,
            target_url: fields::web_url(target_url).map_err(in_field("target_url", target_url))?,
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
