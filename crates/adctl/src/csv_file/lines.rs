//! Makes every line of a text end in one newline, so that lines can be counted.

use std::io::{self, Read};

/// Longest line that is read, in bytes. A file that is no text at all could be one line.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// A text without carriage returns, whose last line ends in a newline as well.
///
/// The CSV reader takes `\r` for the end of a row, and the `\n` behind it for part of the next one,
/// so its line numbers are wrong in a file from Windows.
#[derive(Debug)]
pub(super) struct Lines<R> {
    inner: R,
    /// Bytes of the line that is being read.
    line_bytes: usize,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, line_bytes: 0 }
    }
}

impl<R: Read> Read for Lines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let read = self.inner.read(buffer)?;
            if read == 0 {
                if self.line_bytes == 0 {
                    return Ok(0);
                }
                self.line_bytes = 0;
                buffer[0] = b'\n';
                return Ok(1);
            }

            let mut kept = 0;
            for place in 0..read {
                match buffer[place] {
                    b'\r' => continue,
                    b'\n' => self.line_bytes = 0,
                    _ => self.line_bytes += 1,
                }
                buffer[kept] = buffer[place];
                kept += 1;
            }
            if self.line_bytes > MAX_LINE_BYTES {
                return Err(io::Error::other("a line is longer than 64 KiB; is it a CSV file?"));
            }
            // Nothing at all would mean the end.
            if kept > 0 {
                return Ok(kept);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> io::Result<String> {
        let mut out = String::new();
        Lines::new(text.as_bytes()).read_to_string(&mut out).map(|_| out)
    }

    #[test]
    fn every_line_ends_in_one_newline() {
        for text in ["a\nb", "a\nb\n", "a\r\nb\r\n", "\ra\n\rb"] {
            assert_eq!(lines(text).expect("read"), "a\nb\n", "{text:?}");
        }
        assert_eq!(lines("").expect("read"), "");
    }

    #[test]
    fn a_line_without_an_end_is_refused() {
        assert!(lines(&"x".repeat(1_000_000)).is_err());
        assert!(lines(&"x\n".repeat(1_000_000)).is_ok());
    }
}
