//! `adctl dead list`: shows dead letters.

use std::process::ExitCode;

use clap::{Args, value_parser};
use comfy_table::{CellAlignment, Table, presets};
use proto_schemas::headers::rfc3339;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{Filter, Letter, reader::Reader};
use crate::{connections::KafkaAt, event_json::EventJson, output};

/// How many letters a table shows where no limit is given. JSON lines have no limit.
const TABLE_LIMIT: u64 = 100;

/// Show the records that can never count, the oldest first
///
/// Each is shown once, with its origin (topic/partition/offset), the reason, and the event in it where
/// it holds one. Looks at what is there now. A letter stays when it was replayed, until Kafka's
/// retention (30 days) ends: `adctl dead replay --dry-run` says which are stored meanwhile.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    adctl dead list --reason unknown_ad\n  \
    adctl dead list --json | jq -r .event.ad_id | sort | uniq -c")]
pub(crate) struct List {
    /// Print JSON lines instead of a table
    #[arg(long)]
    json: bool,
    /// Show so many at most [default: 100 in a table, all as JSON]
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..=1_000_000))]
    limit: Option<u64>,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    kafka: KafkaAt,
}

/// A dead letter as `--json` prints it.
#[derive(Serialize)]
struct Line<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    died_at: Option<String>,
    reason: &'a str,
    detail: &'a str,
    /// `None` where the value was too large to be kept.
    size_bytes: Option<usize>,
    event: Option<EventJson<'a>>,
}

impl List {
    pub(super) async fn run(self, stop: CancellationToken) -> anyhow::Result<ExitCode> {
        tokio::task::spawn_blocking(move || self.print(&stop)).await??;
        Ok(ExitCode::SUCCESS)
    }

    fn print(&self, stop: &CancellationToken) -> anyhow::Result<()> {
        let mut reader = Reader::open(&self.kafka)?;
        let limit = self.limit.unwrap_or(if self.json { u64::MAX } else { TABLE_LIMIT });
        let mut table = empty_table();
        let mut shown = 0;
        while let Some(letter) = reader.next(stop)? {
            if !self.filter.matches(&letter) {
                continue;
            }
            if shown == limit {
                output::note(format_args!("there are more than {limit}: --limit shows them"));
                break;
            }
            shown += 1;
            if self.json {
                output::result(serde_json::to_string(&Line::of(&letter))?)?;
            } else {
                table.add_row(cells(&letter));
            }
        }
        if shown == 0 {
            output::note("there are no dead letters of this kind");
        } else if !self.json {
            output::result(table)?;
        }
        Ok(())
    }
}

impl<'a> Line<'a> {
    fn of(letter: &'a Letter) -> Self {
        Self {
            topic: &letter.origin.topic,
            partition: letter.origin.partition,
            offset: letter.origin.offset,
            died_at: letter.died_at.map(rfc3339),
            reason: &letter.reason,
            detail: &letter.detail,
            size_bytes: letter.size(),
            event: letter.event.as_ref().map(EventJson::from),
        }
    }
}

fn empty_table() -> Table {
    let mut table = Table::new();
    let header = ["ORIGIN", "DIED", "REASON", "BYTES", "EVENT", "DETAIL"];
    table.load_style(presets::NOTHING).set_header(header);
    if let Some(bytes) = table.column_mut(3) {
        bytes.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn cells(letter: &Letter) -> [String; 6] {
    let dash = || "-".to_owned();
    [
        letter.origin.to_string(),
        letter.died_at.map_or_else(dash, rfc3339),
        letter.reason.clone(),
        letter.size().map_or_else(dash, |it| it.to_string()),
        letter.event.as_ref().map_or_else(dash, |it| format!("{} of ad {}", it.kind, it.ad_id)),
        letter.detail.clone(),
    ]
}
