//! The report as a table.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};

use super::report::{Line, Report};

const HEADER: [&str; 11] = [
    "PARTITION",
    "LOG",
    "COUNTED TO",
    "LAG",
    "STORED",
    "DUPLICATES",
    "DEAD",
    "ABSENT",
    "ROWS",
    "TOTALS",
    "REDIS",
];

/// Renders a line for each partition, its differences below it, and what that means at the end.
pub(super) fn render(report: &Report) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(HEADER);
    for column in 1..HEADER.len() - 1 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for line in &report.partitions {
        table.add_row(cells(line));
    }
    let mut text = table.to_string();
    let mut differences = 0;
    for line in &report.partitions {
        for difference in &line.differences {
            differences += 1;
            add_line(&mut text, &format!("! {}/{}: {difference}", line.topic, line.partition));
        }
    }
    for stray in &report.strays {
        differences += 1;
        add_line(&mut text, &format!("! {stray}"));
    }
    for unknown in &report.unknown {
        add_line(&mut text, &format!("? {unknown}"));
    }
    add_line(
        &mut text,
        &match (differences, report.unknown.is_empty()) {
            (0, true) => "everything is accounted for".to_owned(),
            (0, false) => {
                "no difference was found, but not everything could be looked at".to_owned()
            }
            (1, _) => "1 difference".to_owned(),
            (many, _) => format!("{many} differences"),
        },
    );
    text
}

fn add_line(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _infallible = write!(text, "\n{line}");
}

fn cells(line: &Line) -> [String; 11] {
    let or_dash = |number: Option<i64>| number.map_or("-".to_owned(), |it| it.to_string());
    let log = match (line.log_start, line.log_end) {
        (Some(start), Some(end)) => format!("{start}..{end}"),
        _ => "-".to_owned(),
    };
    [
        format!("{}/{}", line.topic, line.partition),
        log,
        or_dash(line.next_offset),
        or_dash(line.lag),
        line.stored.to_string(),
        line.duplicates.to_string(),
        line.dead.to_string(),
        line.absent.to_string(),
        or_dash(line.rows),
        line.totals.to_string(),
        line.redis.clone().unwrap_or_else(|| "-".to_owned()),
    ]
}
