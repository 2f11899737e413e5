//! Renders a contract as a page without scripts, which asks nobody for anything.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::{Map, Value};

const STYLE: &str = "
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #1b1f24; background: #fff }
h1, h2, h3 { line-height: 1.2; margin: 2rem 0 .5rem }
h2 { border-top: 1px solid #d0d7de; padding-top: 1.5rem }
code, pre { font: 14px/1.45 ui-monospace, monospace; background: #f3f5f7; border-radius: 4px }
code { padding: .1em .3em }
pre { padding: .75rem; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere }
pre code { padding: 0 }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1rem }
th, td { text-align: left; vertical-align: top; padding: .4rem .75rem .4rem 0;
         border-bottom: 1px solid #d0d7de }
td p { margin: 0 0 .4rem }
.method { color: #0a5 }
.quiet { color: #59636e }
@media (prefers-color-scheme: dark) {
  body { color: #e6edf3; background: #0d1117 }
  code, pre { background: #1b222c }
  a { color: #6cb6ff }
  .method { color: #3fb950 }
  .quiet { color: #9198a1 }
}";

/// Renders a contract of version 3.1.
pub(super) fn render(contract: &Value) -> Markup {
    let title = text(&contract["info"], "title");
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (title) }
                (prose(text(&contract["info"], "description")))
                p.quiet {
                    "Version " (text(&contract["info"], "version")) ". For programs: "
                    a href="openapi.json" { "openapi.json" } " (OpenAPI 3.1)."
                }
                ul {
                    @for (path, method, operation) in operations(contract) {
                        li {
                            a href={ "#" (text(operation, "operationId")) } {
                                code { (method) " " (path) }
                            }
                            " " (text(operation, "summary"))
                        }
                    }
                }
                @for (path, method, operation) in operations(contract) {
                    (render_operation(path, &method, operation))
                }
                h2 { "Shapes" }
                @for (name, schema) in entries(&contract["components"]["schemas"]) {
                    h3 id={ "shape-" (name) } { (name) }
                    (prose(text(schema, "description")))
                    (properties(schema))
                }
            }
        }
    }
}

fn render_operation(path: &str, method: &str, operation: &Value) -> Markup {
    html! {
        h2 id=(text(operation, "operationId")) {
            span.method { (method) } " " (path)
        }
        p { strong { (text(operation, "summary")) } }
        (prose(text(operation, "description")))
        @if let Some(parameters) = operation["parameters"].as_array() {
            table {
                tr { th { "Parameter" } th { "In" } th { "What it is" } }
                @for parameter in parameters {
                    tr {
                        td { code { (text(parameter, "name")) } }
                        td { (text(parameter, "in")) (required(parameter["required"] == true)) }
                        td {
                            (prose(text(parameter, "description")))
                            (kind(&parameter["schema"]))
                        }
                    }
                }
            }
        }
        @for (media_type, content) in entries(&operation["requestBody"]["content"]) {
            p { "Body as " code { (media_type) } ": " (kind(&content["schema"])) }
            (examples(content))
        }
        table {
            tr { th { "Status" } th { "Answer" } }
            @for (status, response) in entries(&operation["responses"]) {
                tr {
                    td { code { (status) } }
                    td { (render_response(response)) }
                }
            }
        }
    }
}

fn render_response(response: &Value) -> Markup {
    // The shape of errors is the same everywhere, and the description names their codes.
    let is_error = |content: &Value| content["schema"].get("allOf").is_some();
    html! {
        (prose(text(response, "description")))
        @for (name, header) in entries(&response["headers"]) {
            p.quiet { "Header " code { (name) } ": " (line(text(header, "description"))) }
        }
        @for (media_type, content) in entries(&response["content"]) {
            @if is_error(content) {
                p.quiet { a href="#shape-Error" { "Error" } " as " code { (media_type) } }
            } @else {
                p.quiet { (kind(&content["schema"])) " as " code { (media_type) } }
                (examples(content))
            }
        }
    }
}

fn examples(content: &Value) -> Markup {
    let one = content.get("example");
    let named = entries(&content["examples"]).filter_map(|(_, example)| example.get("value"));
    html! {
        @for example in one.into_iter().chain(named) {
            pre { code {
                @if let Some(text) = example.as_str() { (text) } @else { (format!("{example:#}")) }
            } }
        }
    }
}

fn properties(schema: &Value) -> Markup {
    let is_required = |name: &str| {
        schema["required"].as_array().is_some_and(|required| required.iter().any(|it| it == name))
    };
    html! {
        @if schema.get("properties").is_none() {
            p { (kind(schema)) }
        } @else {
            table {
                tr { th { "Field" } th { "What it is" } }
                @for (name, property) in entries(&schema["properties"]) {
                    tr {
                        td { code { (name) } (required(is_required(name))) }
                        td { (prose(text(property, "description"))) (kind(property)) }
                    }
                }
            }
        }
    }
}

/// Says in a line what a schema allows.
fn kind(schema: &Value) -> Markup {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or(reference);
        return html! { a href={ "#shape-" (name) } { (name) } };
    }
    for several in ["oneOf", "anyOf", "allOf"] {
        if let Some(these) = schema[several].as_array() {
            return html! {
                @for (number, one) in these.iter().enumerate() {
                    @if number > 0 { " or " }
                    (kind(one))
                }
            };
        }
    }
    if let Some(allowed) = schema["enum"].as_array() {
        return html! {
            @for (number, one) in allowed.iter().enumerate() {
                @if number > 0 { ", " }
                code { (plain(one)) }
            }
        };
    }
    if schema["type"] == "array" {
        return html! { "a list of " (kind(&schema["items"])) (bounds(schema)) };
    }
    let kinds = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().map(plain).collect::<Vec<_>>().join(" or "),
        one => plain(one),
    };
    html! { (kinds) (bounds(schema)) }
}

/// The bounds of a schema, such as `, minimum 1`.
fn bounds(schema: &Value) -> Markup {
    const NAMES: [&str; 8] = [
        "format",
        "pattern",
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
    ];
    html! {
        @for name in NAMES {
            @if let Some(value) = schema.get(name) { ", " (name) " " code { (plain(value)) } }
        }
    }
}

fn required(required: bool) -> Markup {
    html! { @if required { " " span.quiet { "required" } } }
}

/// Paragraphs, each as [`line()`].
fn prose(text: &str) -> Markup {
    html! {
        @for paragraph in text.split("\n\n").filter(|it| !it.is_empty()) { p { (line(paragraph)) } }
    }
}

/// A text with code between backticks.
fn line(text: &str) -> Markup {
    html! {
        @for (number, part) in text.split('`').enumerate() {
            @if number % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

fn operations(contract: &Value) -> impl Iterator<Item = (&str, String, &Value)> {
    entries(&contract["paths"]).flat_map(|(path, item)| {
        entries(item)
            .filter(|(_, operation)| operation.get("responses").is_some())
            .map(move |(method, operation)| (path.as_str(), method.to_uppercase(), operation))
    })
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_contract_becomes_a_page_and_nothing_in_it_becomes_markup() {
        let evil = "<script>alert(1)</script>";
        let contract = json!({
            "info": { "title": evil, "description": "One.\n\nTwo `code`.", "version": "1" },
            "paths": { "/a/{id}": { "post": {
                "operationId": "make_a",
                "summary": evil,
                "parameters": [{
                    "name": "id", "in": "path", "required": true, "description": evil,
                    "schema": { "type": "integer", "minimum": 1 },
                }],
                "requestBody": { "content": { "text/plain": {
                    "schema": { "$ref": "#/components/schemas/A" }, "example": evil,
                } } },
                "responses": { "200": {
                    "description": evil,
                    "headers": { "X-A": { "description": "Always `a`." } },
                    "content": { "application/json": { "schema": {
                        "type": "array",
                        "items": { "oneOf": [{ "type": "string", "enum": [evil] }, { "type": ["string", "null"] }] },
                    } } },
                } },
            } } },
            "components": { "schemas": { "A": {
                "type": "object", "required": ["b"], "properties": { "b": { "type": "string" }, "c": {} },
            } } },
        });

        let page = render(&contract).into_string();

        assert!(!page.contains("<script"), "{page}");
        for expected in [
            "<p>One.</p><p>Two <code>code</code>.</p>",
            "<a href=\"#make_a\"><code>POST /a/{id}</code></a>",
            "<td>path <span class=\"quiet\">required</span></td>",
            "integer, minimum <code>1</code>",
            "<a href=\"#shape-A\">A</a>",
            "Header <code>X-A</code>: Always <code>a</code>.",
            "a list of <code>&lt;script&gt;alert(1)&lt;/script&gt;</code> or string or null",
            "<code>b</code> <span class=\"quiet\">required</span>",
        ] {
            assert!(page.contains(expected), "{expected} is not in {page}");
        }
    }
}
