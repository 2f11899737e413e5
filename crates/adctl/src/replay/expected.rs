//! What a correct pipeline counts for a file of traffic: the file's own rows and clicks.

use std::{collections::BTreeMap, path::Path};

use comfy_table::{CellAlignment, Table, presets};
use proto_schemas::AdId;
use serde::Serialize;

use super::rows::Rows;

/// Events of one ad.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    pub impressions: u64,
    pub clicks: u64,
}

pub(super) type PerAd = BTreeMap<AdId, Counts>;

/// Counts the rows and the clicks of each ad of a file.
///
/// Rows of the same ad, address and millisecond are one event to the pipeline but are all counted
/// here: telling them apart would need the whole file in memory. The project's sample has none.
///
/// Blocks on the file. Memory is bounded by the number of distinct ads, not by the file's size.
///
/// # Errors
///
/// The first line that is wrong, and what is wrong with it.
pub fn expected_counts(path: &Path) -> anyhow::Result<BTreeMap<AdId, Counts>> {
    count_while(path, || true).map(Option::unwrap_or_default)
}

/// Counts while `go_on` says so; `None` where it did not to the end.
pub(super) fn count_while(path: &Path, go_on: impl Fn() -> bool) -> anyhow::Result<Option<PerAd>> {
    let mut counts = PerAd::new();
    for row in Rows::open(path)? {
        if !go_on() {
            return Ok(None);
        }
        let row = row?;
        let ad = counts.entry(row.ad_id).or_default();
        ad.impressions += 1;
        ad.clicks += u64::from(row.clicked);
    }
    Ok(Some(counts))
}

/// The sum over all ads.
pub(super) fn total(counts: &PerAd) -> Counts {
    counts.values().fold(Counts::default(), |sum, it| Counts {
        impressions: sum.impressions + it.impressions,
        clicks: sum.clicks + it.clicks,
    })
}

/// What `--dry-run` prints.
pub(super) fn render(counts: &PerAd, json: bool) -> anyhow::Result<String> {
    let total = total(counts);
    if json {
        let ads = counts
            .iter()
            .map(|(ad, it)| Row { ad_id: ad.get(), impressions: it.impressions, clicks: it.clicks })
            .collect();
        let file = File { impressions: total.impressions, clicks: total.clicks, ads };
        return Ok(serde_json::to_string(&file)?);
    }

    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["AD", "IMPRESSIONS", "CLICKS"]);
    let line = |name: String, it: Counts| [name, it.impressions.to_string(), it.clicks.to_string()];
    for (ad, it) in counts {
        table.add_row(line(ad.to_string(), *it));
    }
    table.add_row(line("all".to_owned(), total));
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    Ok(table.to_string())
}

/// What `--dry-run --json` prints.
#[derive(Serialize)]
struct File {
    impressions: u64,
    clicks: u64,
    ads: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    ad_id: u64,
    impressions: u64,
    clicks: u64,
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const HEADER: &str = "timestamp,ad_id,position,ip,click\n";

    fn counts(rows: &str) -> Result<PerAd, String> {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        write!(file, "{HEADER}{rows}").expect("written");
        expected_counts(file.path())
            .map_err(|error| format!("{error:#}").replace(&file.path().display().to_string(), "F"))
    }

    #[test]
    fn rows_and_clicks_are_counted_for_each_ad() {
        let counts = counts(
            "2019-11-24T00:01:03.979311Z,3,2,198.18.70.88,0\n\
             2019-11-24T00:01:45.406608Z,10,3,198.19.245.86,1\n\
             2019-11-24T00:02:02.396318Z,3,3,198.18.25.13,1\n",
        )
        .expect("a good file");

        let of = |ad| counts.get(&AdId::new(ad).expect("in range")).copied();
        assert_eq!(of(3), Some(Counts { impressions: 2, clicks: 1 }));
        assert_eq!(of(10), Some(Counts { impressions: 1, clicks: 1 }));
        assert_eq!(total(&counts), Counts { impressions: 3, clicks: 2 });
        assert_eq!(
            render(&counts, true).expect("rendered"),
            r#"{"impressions":3,"clicks":2,"ads":[{"ad_id":3,"impressions":2,"clicks":1},{"ad_id":10,"impressions":1,"clicks":1}]}"#
        );
    }

    #[test]
    fn a_malformed_line_is_named_by_its_number() {
        let good = "2019-11-24T00:01:03.979311Z,3,2,198.18.70.88,0\n";

        let error = counts(&format!("{good}{good}2019-11-24T00:01:03Z,x,2,198.18.70.88,0\n"));

        assert_eq!(error, Err("F, line 4: ad_id \"x\" is no number from 1 to 2^53 - 1".to_owned()));
    }
}
