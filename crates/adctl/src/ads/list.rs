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
    image_url: &'a str,
    target_url: &'a str,
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
            image_url: &ad.image_url,
            target_url: &ad.target_url,
        }
    }
}

fn table(rows: &[Row<'_>]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["AD", "ACTIVE", "IMAGE", "TARGET"]);
    for row in rows {
        let active = if row.active { "yes" } else { "no" };
        table.add_row([&row.id.to_string(), active, row.image_url, row.target_url]);
    }
    table
}
