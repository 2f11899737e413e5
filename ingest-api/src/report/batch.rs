//! From the body of a batch to the texts of its events.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::{error::Category, value::RawValue};

/// How many events a batch may have.
const MAX_EVENTS: usize = 500;

/// Why a body is not a batch, whatever its events are. The message is shown to the player.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum InvalidBatch {
    #[error("The body is empty.")]
    Empty,
    #[error("The body is not UTF-8.")]
    NotUtf8,
    #[error("The body is not JSON (line {line}, column {column}).")]
    NotJson { line: usize, column: usize },
    #[error("The body is JSON, but not an array of events.")]
    NotAnArray,
    #[error("The batch has more than {MAX_EVENTS} events; send it in parts.")]
    TooMany,
}

/// Returns the elements of a JSON array, each of them JSON of some kind.
pub(crate) fn json_array(body: &[u8]) -> Result<Vec<&[u8]>, InvalidBatch> {
    let text = str::from_utf8(body).map_err(|_| InvalidBatch::NotUtf8)?;
    if text.trim().is_empty() {
        return Err(InvalidBatch::Empty);
    }
    let elements: Elements<'_> =
        serde_json::from_str(text).map_err(|error| match error.classify() {
            Category::Data => InvalidBatch::NotAnArray,
            Category::Syntax | Category::Eof | Category::Io => {
                InvalidBatch::NotJson { line: error.line(), column: error.column() }
            }
        })?;
    if elements.too_many {
        return Err(InvalidBatch::TooMany);
    }
    Ok(elements.first.into_iter().map(|it| it.get().as_bytes()).collect())
}

/// Returns the lines of NDJSON that are not blank, whatever is in them.
pub(crate) fn json_lines(body: &[u8]) -> Result<Vec<&[u8]>, InvalidBatch> {
    let lines = body.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let lines: Vec<_> = lines.filter(|it| !it.is_empty()).take(MAX_EVENTS + 1).collect();
    match lines.len() {
        0 => Err(InvalidBatch::Empty),
        1..=MAX_EVENTS => Ok(lines),
        _ => Err(InvalidBatch::TooMany),
    }
}

/// The elements of an array, as far as they are wanted.
struct Elements<'a> {
    first: Vec<&'a RawValue>,
    too_many: bool,
}

impl<'de> Deserialize<'de> for Elements<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Array;

        impl<'de> Visitor<'de> for Array {
            type Value = Elements<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
                let mut elements = Elements { first: Vec::new(), too_many: false };
                while elements.first.len() < MAX_EVENTS {
                    let Some(element) = array.next_element()? else { return Ok(elements) };
                    elements.first.push(element);
                }
                // Read to the end, because it is a worse mistake if that is no JSON.
                while array.next_element::<IgnoredAny>()?.is_some() {
                    elements.too_many = true;
                }
                Ok(elements)
            }
        }

        from.deserialize_seq(Array)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(parts: Result<Vec<&[u8]>, InvalidBatch>) -> Result<Vec<&str>, InvalidBatch> {
        Ok(parts?.into_iter().map(|it| str::from_utf8(it).expect("text")).collect())
    }

    fn array(body: &str) -> Result<Vec<&str>, InvalidBatch> {
        texts(json_array(body.as_bytes()))
    }

    fn lines(body: &str) -> Result<Vec<&str>, InvalidBatch> {
        texts(json_lines(body.as_bytes()))
    }

    #[test]
    fn an_array_is_taken_apart_whatever_its_elements_are() {
        assert_eq!(
            array(r#" [ {"a":[1]}, 7,null ,"x"]"#),
            Ok(vec![r#"{"a":[1]}"#, "7", "null", "\"x\""])
        );
        assert_eq!(array("[]"), Ok(vec![]));
        let deep = format!("[{}{}]", "[".repeat(50_000), "]".repeat(50_000));
        assert_eq!(array(&deep).map(|it| it.len()), Ok(1));
    }

    #[test]
    fn what_is_not_an_array_is_no_batch() {
        for body in ["{}", "7", "null", "\"[]\""] {
            assert_eq!(array(body), Err(InvalidBatch::NotAnArray), "{body}");
        }
        for body in ["[", "[1,]", "[1] [2]", "[{]", "nonsense", "[01]"] {
            assert!(matches!(array(body), Err(InvalidBatch::NotJson { .. })), "{body}");
        }
        assert_eq!(array(" \n"), Err(InvalidBatch::Empty));
        assert_eq!(json_array(b"[\"\xff\"]"), Err(InvalidBatch::NotUtf8));
    }

    #[test]
    fn lines_are_taken_apart_whatever_is_in_them() {
        assert_eq!(lines("{\"a\":1}\r\n\n nonsense \n7"), Ok(vec!["{\"a\":1}", "nonsense", "7"]));
        assert_eq!(lines("\r\n \n"), Err(InvalidBatch::Empty));
        assert_eq!(json_lines(b"\xff\n").map(|it| it.len()), Ok(1));
    }

    #[test]
    fn a_batch_has_500_events_at_most() {
        for (count, fits) in [(500, true), (501, false), (10_000, false)] {
            let elements = vec!["{}"; count];
            let (commas, newlines) = (format!("[{}]", elements.join(",")), elements.join("\n"));

            assert_eq!(array(&commas).is_ok(), fits, "{count}");
            assert_eq!(lines(&newlines).is_ok(), fits, "{count}");
        }
        let broken_at_the_end = format!("[{}", "1,".repeat(501));
        assert!(matches!(array(&broken_at_the_end), Err(InvalidBatch::NotJson { .. })));
    }
}
