//! What `docs/KAFKA.md` promises to those who read the topics themselves.

use std::path::{Path, PathBuf};

use proto_schemas::{AdId, DedupKey, DedupSecret, DedupTime, EventId, Kind, dedup::Identity};
use serde_json::{Value, json};

use crate::harness::{Running, Said, Test, event, next_line, record};

#[tokio::test]
async fn the_python_reader_prints_every_click_once() {
    let test = Test::new("python");
    let topic = test.scope.topics().of(Kind::Click).to_owned();
    // One partition, so that what comes after the duplicates is read after them.
    test.scope.create_topics(&[(&topic, 1)]).await;
    let clicks = [1, 1, 2, 1, 2, 3].map(|number| record(&event(Kind::Click, number)));
    test.produce(Kind::Click, &clicks).await;
    let python = python_with_requirements(&test).await;

    let script = repository().join("docs/examples/read_clicks.py");
    let mut command = test.command(python.to_str().expect("UTF-8"));
    // Warnings are errors: a call that goes away with the next release is found here.
    command.args(["-W", "error"]).arg(script).env("TOPIC", topic);
    let mut reader = Running::start(command.env("GROUP", &test.scope.consumer_group));

    for number in 1..=3 {
        let line: Value = serde_json::from_str(&next_line(reader.out()).await).expect("JSON");
        let expected = json!({
            "key": event(Kind::Click, number).dedup_key.to_string(),
            "ad": 7,
            "address": format!("198.18.0.{number}"),
            "at_ms": 1_744_736_100_250_i64,
        });
        assert_eq!(line, expected);
    }
    reader.interrupt();
    assert!(reader.ended().await.success());
    assert_eq!(reader.out().next_line().await.expect("read"), None, "nothing is printed twice");
}

#[tokio::test]
async fn the_dedup_key_is_computed_as_the_document_shows() {
    let document = std::fs::read_to_string(repository().join("docs/KAFKA.md")).expect("there");
    // The second block, of keyed ones, goes on from the first.
    let blocks: Vec<_> = document
        .split("```python\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .filter(|block| block.contains("assert"))
        .collect();
    assert_eq!(blocks.len(), 2, "the document shows both computations");
    let program = blocks.concat();

    // The document's own assertions are what is run here,
    let said = Said::of(Test::new("docs").command("python3").args(["-c", &program])).await;

    assert_eq!(said.success(), "");
    // and that they are the truth is what Rust says.
    for key in vectors() {
        assert!(program.contains(&format!("\"{key}\"")), "{key}");
    }
}

/// The keys of the events of the document.
fn vectors() -> [DedupKey; 7] {
    let id = EventId::new("01J9ZQ-retry_1").expect("valid");
    let at = DedupTime::from_millis(1_744_736_100_000).expect("in range");
    let long_ago = DedupTime::from_millis(0).expect("in range");
    let one = AdId::new(1).expect("in range");
    let last = AdId::new(AdId::MAX).expect("in range");
    let address = |text: &str| Identity::Address(text.parse().expect("an address"));
    let secret = DedupSecret::new(b"an example of 32 bytes, no more.").expect("long enough");
    let keyed =
        |kind, text, time| DedupKey::compute_keyed(&secret, kind, one, &address(text), time);
    [
        DedupKey::compute(Kind::Click, one, &address("192.168.1.100"), at),
        DedupKey::compute(Kind::Impression, one, &address("192.168.1.100"), at),
        DedupKey::compute(Kind::Click, last, &address("2001:db8::1"), long_ago),
        DedupKey::compute(Kind::Click, one, &Identity::EventId(&id), at),
        keyed(Kind::Click, "192.168.1.100", at),
        keyed(Kind::Impression, "192.168.1.100", at),
        keyed(Kind::Click, "2001:db8::1", long_ago),
    ]
}

/// An interpreter that has what the examples require: made once, and again when that changes.
async fn python_with_requirements(test: &Test) -> PathBuf {
    let requirements = repository().join("docs/examples/requirements.txt");
    let wanted = std::fs::read_to_string(&requirements).expect("there");
    let folder = repository().join(".local/python-examples");
    let python = folder.join("bin/python");
    // Written last, so that an environment that was left half made is not used.
    let complete = folder.join("complete-for.txt");
    if std::fs::read_to_string(&complete).is_ok_and(|it| it == wanted) {
        return python;
    }

    let mut venv = test.command("python3");
    let said = Said::of(venv.args(["-m", "venv", "--clear"]).arg(&folder)).await;
    assert_eq!(
        said.code,
        Some(0),
        "Python's venv is missing, run scripts/install.sh --tests: {said:?}"
    );
    let mut pip = test.command(python.to_str().expect("UTF-8"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]);
    let said = Said::of(pip.arg(&requirements)).await;
    assert_eq!(
        said.code,
        Some(0),
        "pip could not install docs/examples/requirements.txt: {said:?}"
    );
    std::fs::write(&complete, wanted).expect("written");
    python
}

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
