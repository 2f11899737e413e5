//! What the documents tell people to type does what they say.

use e2e::{
    Pipeline, Program,
    documents::{Document, run},
};

const KEY: (&str, &str) = ("LINK_SIGNING_KEY", "0123456789abcdef0123456789abcdef");
const DOCUMENTS: [&str; 2] = ["docs/API.md", "README.md"];

/// What a browser has that Node has not. A beacon is sent just like this, but while the page is left.
const BROWSER: &str = r#"
globalThis.crypto ??= require("node:crypto").webcrypto;
const sent = [];
Object.defineProperty(globalThis, "navigator", { value: {
    sendBeacon(url, body) {
        if (typeof body !== "string") throw new Error("no preflight may be needed");
        const headers = { "content-type": "text/plain;charset=UTF-8" };
        sent.push(fetch(url, { method: "POST", headers, body }).then((it) => console.log(it.status)));
        return true;
    },
} });
"#;

#[tokio::test]
async fn every_line_of_curl_in_the_documents_does_what_it_says() {
    let pipeline = Pipeline::new("documents").await;
    let ingest = pipeline.start(Program::Ingest, &[KEY]).await;
    let url = ingest.url("");
    let analytics =
        pipeline.start(Program::Analytics, &[("PUBLIC_INGEST_URL", url.as_str())]).await;

    let mut different = Vec::new();
    for document in DOCUMENTS.map(|it| Document::read(it, &ingest, &analytics)) {
        let examples = document.examples();
        assert!(!examples.is_empty(), "{}", document.name);
        for example in examples {
            let answer = example.run().await;
            if !example.is_answered_by(&answer) {
                different.push(format!("{}: {}\n{answer}", document.name, example.command));
            }
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n\n"));
}

#[tokio::test]
async fn every_piece_of_javascript_in_the_documents_is_received() {
    let pipeline = Pipeline::new("javascript").await;
    let ingest = pipeline.start(Program::Ingest, &[]).await;
    let analytics = pipeline.spawn(Program::Analytics, &[]);
    let document = Document::read("docs/API.md", &ingest, &analytics);

    let mut said = Vec::new();
    for code in document.code("js") {
        let page = format!("{BROWSER}\n(async () => {{\n{code}\nawait Promise.all(sent);\n}})();");
        said.push(run("node", &["--eval", &page]).await);
    }

    assert_eq!(said, ["200\n", "200 Click received\n"]);
}

#[tokio::test]
async fn the_piece_of_python_in_the_documents_signs_the_link_that_they_show() {
    let pipeline = Pipeline::new("python").await;
    let ingest = pipeline.start(Program::Ingest, &[]).await;
    let analytics = pipeline.spawn(Program::Analytics, &[]);
    let document = Document::read("docs/API.md", &ingest, &analytics);

    let [code] = <[_; 1]>::try_from(document.code("python")).expect("one piece");
    let signature = run("python3", &["-c", &code]).await;

    assert!(document.says(&format!("&sig={}", signature.trim())), "{signature}");
}
