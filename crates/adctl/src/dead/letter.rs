//! One dead letter: the record that died, where it came from, and why it died.

use std::{fmt, str::FromStr};

use proto_schemas::{AdEvent, Timestamp, headers::dead};
use rdkafka::{
    Message,
    message::{BorrowedMessage, Headers as _},
};

/// A dead letter.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    pub(super) origin: Origin,
    pub(super) reason: String,
    /// In words, for a person.
    pub(super) detail: String,
    /// When it became a dead letter, by Kafka's clock.
    pub(super) died_at: Option<Timestamp>,
    pub(super) key: Option<Vec<u8>>,
    /// The record's own bytes; `None` where they were too many to be kept.
    pub(super) value: Option<Vec<u8>>,
    /// What the bytes say, where they are an event.
    pub(super) event: Option<AdEvent>,
}

/// Where a record was when it died.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Origin {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) offset: i64,
}

impl Letter {
    /// Returns `None` for a record that carries no origin, and so is no dead letter.
    pub(super) fn read(record: &BorrowedMessage<'_>) -> Option<Self> {
        let header = |name: &str| {
            let mut headers = record.headers()?.iter();
            let value = headers.find(|it| it.key == name)?.value?;
            Some(String::from_utf8_lossy(value).into_owned())
        };
        let value = record.payload();
        Some(Self {
            origin: Origin {
                topic: header(dead::TOPIC)?,
                partition: header(dead::PARTITION)?.parse().ok()?,
                offset: header(dead::OFFSET)?.parse().ok()?,
            },
            reason: header(dead::REASON).unwrap_or_default(),
            detail: header(dead::DETAIL).unwrap_or_default(),
            died_at: record
                .timestamp()
                .to_millis()
                .and_then(|it| Timestamp::from_micros(it.checked_mul(1000)?)),
            key: record.key().map(<[u8]>::to_vec),
            event: value.and_then(|it| AdEvent::decode(it).ok()),
            value: value.map(<[u8]>::to_vec),
        })
    }

    /// Bytes of its value that are kept.
    pub(super) fn size(&self) -> Option<usize> {
        self.value.as_ref().map(Vec::len)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

impl FromStr for Origin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.rsplitn(3, '/');
        let offset = parts.next().and_then(|it| it.parse().ok());
        let partition = parts.next().and_then(|it| it.parse().ok());
        match (parts.next(), partition, offset) {
            (Some(topic), Some(partition), Some(offset)) if !topic.is_empty() => {
                Ok(Self { topic: topic.to_owned(), partition, offset })
            }
            _ => Err("an origin is written as `adctl dead list` shows it: ad-clicks/3/1234"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_read_as_it_is_written() {
        let origin = Origin { topic: "ad-clicks".to_owned(), partition: 3, offset: 1234 };

        assert_eq!(origin.to_string().parse(), Ok(origin));
        for bad in ["", "ad-clicks", "ad-clicks/3", "3/1234", "/3/1234", "ad-clicks/3/x"] {
            assert!(bad.parse::<Origin>().is_err(), "{bad}");
        }
    }
}
