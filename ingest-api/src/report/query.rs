//! From the query of a URL to the fields of an event.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use proto_schemas::AdId;

use super::{
    Invalid, fields,
    form::{Form, Name, Value},
    macros,
};

/// How long a query may be. It may hold a URL, in which most characters take three.
pub(super) const MAX_BYTES: usize = 8 * 1024;

/// The parameters of a query: their names decoded, their values not yet.
///
/// A plus stands for itself, as it does in a URL. Forms write spaces with it, but no parameter here
/// has any, and a timestamp has a plus before its offset.
#[derive(Debug)]
pub(crate) struct Parameters<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'a> Parameters<'a> {
    pub(crate) fn parse(query: &'a str) -> Result<Self, Invalid> {
        if query.len() > MAX_BYTES {
            return Err(Invalid::QueryTooLong);
        }
        let parameters = query.split('&').filter_map(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            // A name that cannot be decoded is none that is known here.
            Some((decoded(name)?, value))
        });
        Ok(Self(parameters.collect()))
    }

    /// Returns the value of a parameter that may be there once.
    pub(crate) fn one(&self, name: &'static str) -> Result<Option<Cow<'a, str>>, Invalid> {
        let mut values = self.0.iter().filter(|(its_name, _)| its_name == name);
        let Some((_, value)) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(Invalid::Duplicate(name));
        }
        decoded(value).map(Some).ok_or(Invalid::Field(name, PERCENT_ENCODED))
    }

    /// Returns whose event it is.
    pub(crate) fn ad_id(&self) -> Result<AdId, Invalid> {
        let name = Name::AdId.as_str();
        let value = self.one(name)?.ok_or(Invalid::Missing(name))?;
        fields::ad_id(&value).ok_or(Invalid::Field(name, fields::AD_ID))
    }
}

impl<'a> Form<'a> {
    /// Takes the known parameters.
    pub(super) fn from_parameters(parameters: &Parameters<'a>) -> Result<Self, Invalid> {
        let mut form = Form::default();
        for (name, value) in &parameters.0 {
            let Some(name) = Name::of_parameter(name) else { continue };
            let value = decoded(value).ok_or(Invalid::Field(name.as_str(), PERCENT_ENCODED))?;
            let says_something = !is_absent(&value) && !is_strange_position(name, &value);
            form.fill(name, says_something.then_some(Value::Parameter(value)));
        }
        Ok(form)
    }
}

const PERCENT_ENCODED: &str = "UTF-8, with a percent sign only before two hexadecimal digits";

/// A macro that the player has left as it was (`[TIMESTAMP]`), or has filled in with what VAST 4.1 has
/// for a value that is not known (-1) or not told (-2).
fn is_absent(value: &str) -> bool {
    let name = value.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let is_macro = name.is_some_and(|it| {
        !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    });
    is_macro || matches!(value, "" | "-1" | "-2")
}

/// Players fill in what they know of a position, and live streams are longer than a day. No event is to
/// be lost for that.
fn is_strange_position(name: Name, value: &str) -> bool {
    let is_position = matches!(name, Name::PlaybackTime | Name::VideoPlaybackTime);
    is_position && macros::playback_ms(value).is_none()
}

fn decoded(text: &str) -> Option<Cow<'_, str>> {
    let mut escapes = text.split('%').skip(1).map(str::as_bytes);
    let is_encoded = escapes.all(|it| it.len() >= 2 && it[..2].iter().all(u8::is_ascii_hexdigit));
    is_encoded.then(|| percent_decode_str(text).decode_utf8().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Report;

    fn read(query: &str) -> Result<Report, Invalid> {
        Report::from_parameters(&Parameters::parse(query)?)
    }

    fn with(more: &str) -> Report {
        read(&format!("ad_id=1&ts=2025-04-15T16:55:00Z&{more}")).expect(more)
    }

    fn refused(query: &str) -> (&'static str, Option<&'static str>) {
        read(query).expect_err(query).code_and_field()
    }

    #[test]
    fn a_query_says_the_same_as_a_json_object() {
        let json = br#"{"ad_id":1,"timestamp":"2025-04-15T16:55:00.25+02:00","ip":"192.0.2.1",
            "playback_time":12.5,"event_id":"a+b&c"}"#;
        let expected = Report::from_json(json).expect("valid");

        let short = "ad_id=1&ts=2025-04-15T16%3A55:00.25%2b02:00&ip=192.0.2.1&playback_time=12.5\
                     &event_id=a+b%26c&cb=7";
        let long = "&&timestamp=2025-04-15T16:55:00.25+02:00&%61d_id=1&ip_address=192.0.2.1\
                    &video_playback_time=00:00:12.500&event_id=a%2Bb%26c&=&x&x=%zz&";
        assert_eq!(read(short).as_ref(), Ok(&expected));
        assert_eq!(read(long), Ok(expected));
    }

    #[test]
    fn only_the_ad_must_be_there() {
        let report = read("ad_id=1").expect("valid");
        assert_eq!((report.occurred_at_us, report.playback_ms), (None, None));

        assert_eq!(refused(""), ("missing_field", Some("ad_id")));
        assert_eq!(refused("ad_id=&ts=2025-04-15T16:55:00Z"), ("missing_field", Some("ad_id")));
    }

    #[test]
    fn a_macro_that_was_left_as_it_was_counts_as_absent() {
        for left in ["[TIMESTAMP]", "%5BTIMESTAMP%5D", "%5btimestamp%5d", "", "-1", "-2"] {
            let query = format!("ad_id=1&ts={left}&playback_time={left}&event_id={left}&ip={left}");
            assert_eq!(read(&query), read("ad_id=1"), "{left}");
        }
        // Part of a text, it is part of a text.
        let event_id = with("event_id=7-[CACHEBUSTING]").event_id.expect("an id");
        assert_eq!(event_id.as_str(), "7-[CACHEBUSTING]");
        assert_eq!(refused("ad_id=1&ts=[]"), ("invalid_field", Some("timestamp")));
    }

    #[test]
    fn a_position_that_cannot_be_kept_is_left_out() {
        for strange in ["137:22:11.000", "100000", "unknown", "-5"] {
            assert_eq!(with(&format!("playback_time={strange}")), with(""), "{strange}");
        }
    }

    #[test]
    fn a_known_parameter_stands_there_once() {
        assert_eq!(refused("ad_id=1&ad_id=1"), ("duplicate_field", Some("ad_id")));
        assert_eq!(refused("ad_id=1&ts=[A]&timestamp=[A]"), ("duplicate_field", Some("timestamp")));
        let contradiction = refused("ad_id=1&ip=192.0.2.1&ip_address=192.0.2.2");
        assert_eq!(contradiction, ("contradicting_fields", Some("ip")));
        assert_eq!(with("cb=1&cb=2&type=click&type=view"), with(""));
    }

    #[test]
    fn what_is_not_encoded_well_is_refused() {
        for bad in ["%", "%4", "%zz", "%%41", "a%", "%ff", "%c3%28"] {
            let query = format!("ad_id=1&event_id={bad}");
            assert_eq!(refused(&query), ("invalid_field", Some("event_id")), "{bad}");
        }
        assert_eq!(refused("ad_id=1%202"), ("invalid_field", Some("ad_id")));
        assert_eq!(read("ad_id=x"), Err(Invalid::Field("ad_id", fields::AD_ID)));
    }

    #[test]
    fn a_query_is_not_too_long() {
        let of_length = |len: usize| format!("ad_id=1&cb={}", "x".repeat(len - 11));

        assert!(read(&of_length(MAX_BYTES)).is_ok());
        assert_eq!(read(&of_length(MAX_BYTES + 1)), Err(Invalid::QueryTooLong));
    }
}
