//! `adctl ads list`: shows every ad.

use clap::Args;
use click_store::{Ad, ads};
use comfy_table::{Table, presets};
use serde::Serialize;

use crate::{connections::PostgresAt, output};

/// Show every ad, active or not
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Print a JSON array instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    postgres: PostgresAt,
}

/// An ad as `--json` prints it.
#[derive(Serialize)]
struct Row<'a> {
    id: u64,
    active: bool,
    title: Option<&'a str>,
    image_url: &'a str,
    target_url: &'a str,
    media: Option<MediaOfRow<'a>>,
}

#[derive(Serialize)]
struct MediaOfRow<'a> {
    url: &'a str,
    #[serde(rename = "type")]
    media_type: &'a str,
    duration_ms: u128,
    width: u16,
    height: u16,
}

impl List {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let ads = ads::list(&self.postgres.pool()?)
            .await
            .map_err(|error| self.postgres.explain(error))?;
        let rows: Vec<Row<'_>> = ads.iter().map(Row::of).collect();

        if self.json {
            output::result(serde_json::to_string_pretty(&rows)?)?;
        } else if rows.is_empty() {
            output::note("there are no ads yet: `adctl ads add --help` says how to add some");
        } else {
            output::result(table(&rows))?;
        }
        Ok(())
    }
}

impl<'a> Row<'a> {
    fn of(ad: &'a Ad) -> Self {
        Self {
            id: ad.id.get(),
            active: ad.active,
            title: ad.title.as_deref(),
            image_url: &ad.image_url,
            target_url: &ad.target_url,
            media: ad.media.as_ref().map(|media| MediaOfRow {
                url: &media.url,
                media_type: &media.media_type,
                duration_ms: media.duration.as_millis(),
                width: media.width,
                height: media.height,
            }),
        }
    }
}

fn table(rows: &[Row<'_>]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(["AD", "ACTIVE", "TITLE", "IMAGE", "TARGET", "VIDEO"]);
    for row in rows {
        let active = if row.active { "yes" } else { "no" };
        let video = row.media.as_ref().map_or("", |media| media.url);
        let id = row.id.to_string();
        let title = row.title.unwrap_or_default();
        table.add_row([&id, active, title, row.image_url, row.target_url, video]);
    }
    table
}
