//! The rows of a file of traffic, and the events that each of them stands for.

use std::{net::IpAddr, path::Path};

use anyhow::{Context as _, bail};
use proto_schemas::{AdId, Kind, Timestamp};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::csv_file::{CsvFile, OtherColumns};

/// A file of traffic, read row by row.
#[derive(Debug)]
pub(super) struct Rows(CsvFile<4>);

/// One impression, and whether it was clicked.
///
/// Holding one is proof that the ingest service can read every field.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Row {
    pub(super) line: u64,
    pub(super) ad_id: AdId,
    /// RFC 3339, as the file has it.
    pub(super) timestamp: String,
    pub(super) ip: IpAddr,
    pub(super) clicked: bool,
}

impl Rows {
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let columns = ["timestamp", "ad_id", "ip", "click"];
        CsvFile::open(path, columns, OtherColumns::Ignored).map(Self)
    }
}

impl Iterator for Rows {
    type Item = anyhow::Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_row(parse).transpose()
    }
}

impl Row {
    /// What is posted for this row.
    pub(super) fn kinds(&self) -> &'static [Kind] {
        if self.clicked { &[Kind::Impression, Kind::Click] } else { &[Kind::Impression] }
    }
}

fn parse(line: u64, [timestamp, ad_id, ip, click]: [&str; 4]) -> anyhow::Result<Row> {
    check_timestamp(timestamp)?;
    Ok(Row {
        line,
        ad_id: ad_id
            .parse()
            .ok()
            .and_then(AdId::new)
            .with_context(|| format!("ad_id {ad_id:?} is no number from 1 to 2^53 - 1"))?,
        timestamp: timestamp.to_owned(),
        ip: ip.parse().ok().with_context(|| format!("ip {ip:?} is no address"))?,
        clicked: match click {
            "0" => false,
            "1" => true,
            _ => bail!("click {click:?} is neither 0 nor 1"),
        },
    })
}

fn check_timestamp(text: &str) -> anyhow::Result<()> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok().with_context(|| {
        format!("timestamp {text:?} is not RFC 3339, such as 2019-11-24T00:01:03.979311Z")
    })?;
    let micros = i64::try_from(time.unix_timestamp_nanos() / 1000).ok();
    micros
        .and_then(Timestamp::from_micros)
        .with_context(|| format!("timestamp {text:?} is not between 1970 and 2199"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(fields: [&str; 4]) -> Result<Row, String> {
        parse(7, fields).map_err(|error| error.to_string())
    }

    #[test]
    fn a_clicked_row_is_an_impression_and_a_click() {
        let row = row(["2019-11-24T00:01:03.979311Z", "3", "198.18.70.88", "1"]).expect("valid");

        assert_eq!((row.line, row.ad_id.get(), row.clicked), (7, 3, true));
        assert_eq!(row.kinds(), [Kind::Impression, Kind::Click]);
        assert_eq!(Row { clicked: false, ..row }.kinds(), [Kind::Impression]);
    }

    #[test]
    fn a_row_that_the_ingest_service_could_not_read_is_refused() {
        let good = ["2019-11-24T00:01:03+01:00", "3", "2001:db8::1", "0"];
        assert!(row(good).is_ok());

        for (place, bad, problem) in [
            (0, "2019-11-24 00:01", "timestamp \"2019-11-24 00:01\" is not RFC 3339"),
            (0, "1969-11-24T00:01:03Z", "is not between 1970 and 2199"),
            (1, "0", "ad_id \"0\" is no number"),
            (2, "198.18.70.888", "ip \"198.18.70.888\" is no address"),
            (3, "yes", "click \"yes\" is neither 0 nor 1"),
        ] {
            let mut fields = good;
            fields[place] = bad;
            let error = row(fields).expect_err("refused");
            assert!(error.contains(problem), "{error}");
        }
    }
}
