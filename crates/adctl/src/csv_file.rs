//! CSV files with a header, read row by row; every complaint names the file and the line.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow, bail};
use csv::{ErrorKind, Reader, ReaderBuilder, StringRecord, Trim};

use self::lines::Lines;

mod lines;

/// A file whose header has `N` columns that we read, in any order.
///
/// One row is in memory at a time, so a file may be of any size.
#[derive(Debug)]
pub(crate) struct CsvFile<const N: usize> {
    path: PathBuf,
    reader: Reader<Lines<File>>,
    /// Where in a row each of the columns is; `None` for one that the file does not have.
    columns: [Option<usize>; N],
    row: StringRecord,
}

/// What to do about columns that we do not read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum OtherColumns {
    Ignored,
    Refused,
}

impl<const N: usize> CsvFile<N> {
    /// Opens a file and reads its header.
    pub(crate) fn open(
        path: &Path,
        names: [&str; N],
        others: OtherColumns,
    ) -> anyhow::Result<Self> {
        Self::open_with_optional(path, names, N, others)
    }

    /// The same where only the first `required` of the columns must be there. The others' fields are
    /// empty where they are not.
    pub(crate) fn open_with_optional(
        path: &Path,
        names: [&str; N],
        required: usize,
        others: OtherColumns,
    ) -> anyhow::Result<Self> {
        let file =
            File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let mut reader = ReaderBuilder::new().trim(Trim::All).from_reader(Lines::new(file));
        let header = reader.headers().map_err(|error| complaint(path, 1, &error))?;

        let columns = names.map(|name| header.iter().position(|it| it == name));
        let mut first = columns.iter().zip(names).take(required);
        if let Some((_, missing)) = first.find(|(column, _)| column.is_none()) {
            let wanted = names[..required].join(",");
            bail!("{}, line 1: no column {missing}; expected {wanted}", path.display());
        }
        if others == OtherColumns::Refused
            && let Some(other) = header.iter().find(|it| !names.contains(it))
        {
            bail!(
                "{}, line 1: column {other:?} is unknown; expected {}",
                path.display(),
                names.join(",")
            );
        }
        Ok(Self { path: path.to_owned(), reader, columns, row: StringRecord::new() })
    }

    /// Reads the next row and parses its fields, in the order of the names given to
    /// [`CsvFile::open`]. `None` at the end.
    pub(crate) fn next_row<T>(
        &mut self,
        parse: impl FnOnce(u64, [&str; N]) -> anyhow::Result<T>,
    ) -> anyhow::Result<Option<T>> {
        let more = self.reader.read_record(&mut self.row);
        // The reader stands at the beginning of the line behind the row. The row's own position
        // would be before any empty lines that the reader skipped.
        let line = self.reader.position().line().saturating_sub(1);
        if !more.map_err(|error| complaint(&self.path, line, &error))? {
            return Ok(None);
        }
        let field = |column: Option<usize>| self.row.get(column?);
        let fields = self.columns.map(|column| field(column).unwrap_or_default());
        parse(line, fields)
            .map(Some)
            .with_context(|| format!("{}, line {line}", self.path.display()))
    }
}

/// Says what is wrong with a file that is not even CSV.
fn complaint(path: &Path, line: u64, error: &csv::Error) -> anyhow::Error {
    let path = path.display();
    match error.kind() {
        ErrorKind::UnequalLengths { expected_len, len, .. } => {
            anyhow!("{path}, line {line}: {len} columns, but the header has {expected_len}")
        }
        ErrorKind::Utf8 { .. } => anyhow!("{path}, line {line}: not UTF-8"),
        ErrorKind::Io(error) => anyhow!("{path} cannot be read: {error}"),
        _ => anyhow!("{path}, line {line}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn lines(text: &str) -> Vec<Result<(u64, String), String>> {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text.as_bytes()).expect("written");
        let mut csv = match CsvFile::open(file.path(), ["b", "a"], OtherColumns::Refused) {
            Ok(csv) => csv,
            Err(error) => return vec![Err(without_path(&error, file.path()))],
        };
        std::iter::from_fn(|| {
            csv.next_row(|line, [b, a]| Ok((line, format!("{a}{b}")))).transpose()
        })
        .map(|row| row.map_err(|error| without_path(&error, file.path())))
        .collect()
    }

    fn without_path(error: &anyhow::Error, path: &Path) -> String {
        format!("{error:#}").replace(&path.display().to_string(), "FILE")
    }

    #[test]
    fn columns_are_found_by_name_and_lines_are_counted() {
        let expected = vec![Ok((2, "12".to_owned())), Ok((3, "34".to_owned()))];

        assert_eq!(lines("a,b\n1,2\n3, 4 \n"), expected);
        assert_eq!(lines("b,a\r\n2,1\r\n4,3"), expected);
        assert_eq!(lines("\u{feff}a,b\n1,2\n3,4"), expected);

        let with_gap = [Ok((2, "12".to_owned())), Ok((4, "34".to_owned()))];
        assert_eq!(lines("a,b\n1,2\n\n3,4\n\n"), with_gap);
        assert_eq!(lines("a,b\r\n1,2\r\n\r\n3,4"), with_gap);
    }

    #[test]
    fn an_optional_column_that_is_not_there_is_empty() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(b"b\n2\n").expect("written");
        let names = ["b", "a"];
        let refused = OtherColumns::Refused;

        let mut csv = CsvFile::open_with_optional(file.path(), names, 1, refused).expect("opened");

        let row = csv.next_row(|_, [b, a]| Ok(format!("{b}-{a}"))).expect("a row");
        assert_eq!(row.as_deref(), Some("2-"));
        assert!(CsvFile::open(file.path(), names, refused).is_err());
    }

    #[test]
    fn a_file_of_another_shape_is_refused() {
        let only = |text| lines(text).pop().expect("one row").expect_err("refused");

        assert_eq!(only("a,c\n1,2"), "FILE, line 1: no column b; expected b,a");
        assert_eq!(only(""), "FILE, line 1: no column b; expected b,a");
        assert_eq!(only("a,b,c\n1,2,3"), "FILE, line 1: column \"c\" is unknown; expected b,a");
        assert_eq!(only("a,b\n1,2\n1,2,3"), "FILE, line 3: 3 columns, but the header has 2");
        assert_eq!(only("a,b\r\n1,2\r\n1\r\n"), "FILE, line 3: 1 columns, but the header has 2");
    }
}
