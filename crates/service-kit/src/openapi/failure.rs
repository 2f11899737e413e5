//! The ways in which a request can fail, as the contract has them.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::StatusCode;
use serde_json::{Value, json};
use utoipa::openapi::{
    AllOfBuilder, ContentBuilder, Header, HeaderBuilder, ObjectBuilder, OpenApi, Ref, RefOr,
    Response, ResponseBuilder, Schema, example::ExampleBuilder, schema::Type,
};

/// One way in which a request can fail.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Failure {
    pub status: u16,
    pub code: &'static str,
    /// A sentence that says when: what a client may read in `error`, or what is common to all that it
    /// may read there.
    pub when: &'static str,
    /// Whether the same may succeed later, so that the answer has a `Retry-After`.
    pub retry: bool,
}

impl Failure {
    /// What every route answers where its handler panics.
    pub const INTERNAL: Self =
        Self::new(500, "internal_error", "Something is broken on the server's side.");

    /// What every route answers where too many requests are in flight (see
    /// [`Load`](crate::http::Load)).
    pub const OVERLOADED: Self =
        Self::new(503, "overloaded", "There are too many requests at once.").passing();

    pub const fn new(status: u16, code: &'static str, when: &'static str) -> Self {
        Self { status, code, when, retry: false }
    }

    /// The status as a type.
    pub fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The same, with a `Retry-After`.
    #[must_use]
    pub const fn passing(self) -> Self {
        Self { retry: true, ..self }
    }
}

/// The answers to a request that fails in one of these ways, by status, for `IntoResponses`.
pub fn failures<'a>(
    failures: impl IntoIterator<Item = &'a Failure>,
) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<u16, Vec<&Failure>> = BTreeMap::new();
    for failure in failures {
        by_status.entry(failure.status).or_default().push(failure);
    }
    by_status
        .into_iter()
        .map(|(status, them)| (status.to_string(), response(&them).into()))
        .collect()
}

fn response(failures: &[&Failure]) -> Response {
    let lines: Vec<_> = failures.iter().map(|it| format!("`{}`: {}", it.code, it.when)).collect();
    let codes: Vec<_> = failures.iter().map(|it| Value::from(it.code)).collect();
    let examples = failures.iter().map(|it| {
        let example = json!({ "error": it.when, "code": it.code });
        (it.code, ExampleBuilder::new().value(Some(example)).build())
    });
    let code = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(codes));
    let body = AllOfBuilder::new()
        .item(Ref::from_schema_name("Error"))
        .item(ObjectBuilder::new().property("code", code));
    let content = ContentBuilder::new()
        .schema(Some(Schema::AllOf(body.build())))
        .examples_from_iter(examples)
        .build();
    let response =
        ResponseBuilder::new().description(lines.join("\n\n")).content("application/json", content);
    if failures.iter().any(|it| it.retry) {
        response.header("Retry-After", retry_after()).build()
    } else {
        response.build()
    }
}

fn retry_after() -> Header {
    let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
    HeaderBuilder::new()
        .schema(Some(Schema::from(seconds.build())))
        .description(Some("Seconds after which to send it again."))
        .build()
}

/// Every code that the contract's answers name.
pub(super) fn codes(openapi: &OpenApi) -> BTreeSet<String> {
    fn collect(value: &Value, codes: &mut BTreeSet<String>) {
        match value {
            Value::Object(object) => {
                let named = object.get("code").and_then(|it| it.get("enum"));
                let named = named.and_then(Value::as_array).into_iter().flatten();
                codes.extend(named.filter_map(|it| it.as_str().map(str::to_owned)));
                object.values().for_each(|it| collect(it, codes));
            }
            Value::Array(array) => array.iter().for_each(|it| collect(it, codes)),
            _ => {}
        }
    }
    let mut codes = BTreeSet::new();
    collect(&serde_json::to_value(&openapi.paths).unwrap_or_default(), &mut codes);
    codes
}

pub(super) fn code_schema(codes: &BTreeSet<String>) -> Schema {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(codes.iter().cloned().map(Value::from)))
        .description(Some(
            "What happened, for programs. The same reason always has the same code; there may be \
             more codes in a later release.",
        ))
        .build()
        .into()
}

pub(super) fn error_schema() -> Schema {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    ObjectBuilder::new()
        .property("error", text().description(Some("A sentence, for people.")))
        .required("error")
        .property("code", Ref::from_schema_name("ErrorCode"))
        .required("code")
        .property("field", text().description(Some("The field that is at fault, where one is.")))
        .description(Some("Why a request was not answered with success."))
        .build()
        .into()
}

#[cfg(test)]
mod tests {
    use utoipa::openapi::{
        HttpMethod, PathItem, PathsBuilder, ResponsesBuilder, path::OperationBuilder,
    };

    use super::*;
    use crate::openapi::{Contract, differences};

    const GONE: Failure = Failure::new(404, "gone", "It is gone.");
    const NEVER: Failure = Failure::new(404, "never_there", "It never was.");
    const LATER: Failure = Failure::new(503, "later", "Not now.").passing();

    fn api() -> OpenApi {
        let responses =
            ResponsesBuilder::new().responses_from_iter(failures(&[GONE, NEVER, LATER]));
        let operation = OperationBuilder::new().responses(responses.build()).build();
        let paths = PathsBuilder::new().path("/a", PathItem::new(HttpMethod::Get, operation));
        OpenApi::builder().paths(paths.build()).build()
    }

    #[test]
    fn failures_of_one_status_are_one_answer_that_names_their_codes() {
        let contract: Value = serde_json::from_slice(Contract::new(api()).json()).expect("JSON");

        let answers = &contract["paths"]["/a"]["get"]["responses"];
        let gone = &answers["404"];
        assert_eq!(gone["description"], "`gone`: It is gone.\n\n`never_there`: It never was.");
        let json = &gone["content"]["application/json"];
        assert_eq!(
            json["schema"]["allOf"][1]["properties"]["code"]["enum"],
            json!(["gone", "never_there"])
        );
        assert_eq!(json["examples"]["gone"]["value"]["error"], "It is gone.");
        assert_eq!(gone.get("headers"), None);
        assert_eq!(answers["503"]["headers"]["Retry-After"]["schema"]["type"], "integer");
        let schemas = &contract["components"]["schemas"];
        assert_eq!(schemas["ErrorCode"]["enum"], json!(["gone", "later", "never_there"]));
        assert_eq!(schemas["Error"]["required"], json!(["error", "code"]));
    }

    #[test]
    fn a_table_of_routes_is_compared_with_the_contract() {
        use axum::http::Method;

        assert_eq!(differences(&[("/a", Method::GET, &[404, 503])], &api()), Vec::<String>::new());
        let other = [("/a", Method::GET, &[200, 404][..]), ("/b", Method::POST, &[200])];
        assert_eq!(differences(&other, &api()), ["GET /a 200", "GET /a 503", "POST /b 200"]);
    }
}
