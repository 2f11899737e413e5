//! The headers that say how much its sender may still send, on every answer that has them.

use utoipa::{
    Modify,
    openapi::{
        Header, HeaderBuilder, ObjectBuilder, OpenApi, PathItem, RefOr, Response, Schema,
        path::Operation, schema::Type,
    },
};

/// Adds them to each way in that can answer 429: to that, and to success.
pub(super) struct LimitHeaders;

impl Modify for LimitHeaders {
    fn modify(&self, openapi: &mut OpenApi) {
        for path in openapi.paths.paths.values_mut() {
            for operation in operations(path) {
                describe(operation);
            }
        }
    }
}

fn operations(path: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut path.get, &mut path.post].into_iter().flatten()
}

fn describe(operation: &mut Operation) {
    let answers = &mut operation.responses.responses;
    if !answers.contains_key("429") {
        return;
    }
    for status in ["200", "429"] {
        if let Some(RefOr::T(Response { headers, .. })) = answers.get_mut(status) {
            headers.insert("RateLimit-Policy".to_owned(), policy().into());
            headers.insert("RateLimit".to_owned(), state().into());
        }
    }
}

fn policy() -> Header {
    header(
        r#""clicks";q=10;w=60"#,
        "The limits of this sender: `q` events in `w` seconds. A list, as RFC 9651 has it, with \
         `clicks`, `impressions`, and where there are such limits `clicks-per-ad` and \
         `impressions-per-ad`. Absent where there are none.",
    )
}

fn state() -> Header {
    header(
        r#""clicks";r=9;t=6"#,
        "What is left of each limit: `r` events now, and all of it again in `t` seconds.",
    )
}

/// One item or more, each a name in quotes with two whole numbers.
fn header(example: &str, description: &str) -> Header {
    let parameters =
        if example.contains(";q=") { ";q=[0-9]+;w=[0-9]+" } else { ";r=[0-9]+;t=[0-9]+" };
    let item = format!("\"[a-z-]+\"{parameters}");
    let text = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(format!("^{item}(, {item})*$")))
        .examples([example]);
    HeaderBuilder::new()
        .schema(Some(Schema::from(text.build())))
        .description(Some(description))
        .build()
}
