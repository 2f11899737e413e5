//! From a JSON object to the fields of an event.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{error::Category, value::RawValue};

use super::{
    Invalid,
    form::{Form, Name, Value},
};

impl<'a> Form<'a> {
    /// Takes the known members of an object as JSON text.
    pub(super) fn from_json(object: &'a [u8]) -> Result<Self, Invalid> {
        let text = str::from_utf8(object).map_err(|_| Invalid::NotUtf8)?;
        if text.trim().is_empty() {
            return Err(Invalid::Empty);
        }
        serde_json::from_str(text).map_err(|error| match error.classify() {
            Category::Data => Invalid::NotAnObject,
            Category::Syntax | Category::Eof | Category::Io => {
                Invalid::NotJson { line: error.line(), column: error.column() }
            }
        })
    }
}

/// Written by hand because a derived struct would also read an array, and would read numbers as
/// floating point.
impl<'de> Deserialize<'de> for Form<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Form<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut form = Form::default();
                while let Some(name) = map.next_key::<Name>()? {
                    if let Name::Other = name {
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        let value: Option<&RawValue> = map.next_value()?;
                        form.fill(name, value.map(Value::Json));
                    }
                }
                Ok(form)
            }
        }

        from.deserialize_map(Object)
    }
}
