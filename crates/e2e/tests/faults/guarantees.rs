//! What docs/GUARANTEES.md names is there.

use std::{fs, path::Path};

#[test]
fn every_test_that_the_guarantees_name_exists() {
    let repository = local_stack::repository();
    let text = fs::read_to_string(repository.join("docs/GUARANTEES.md")).expect("the document");
    let tests: String =
        ["crates/click-store", "crates/e2e", "ingest-api", "click-consumer", "analytics-api"]
            .map(|it| sources(&repository.join(it).join("tests")))
            .concat();

    // Between backquotes every second piece is code, and a sentence has several words.
    let named = text.split('`').skip(1).step_by(2).filter(|it| it.matches('_').count() >= 4);
    let missing: Vec<_> = named.filter(|it| !tests.contains(&format!("fn {it}("))).collect();

    assert!(missing.is_empty(), "not there: {missing:?}");
}

fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).expect("a folder of tests") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            text += &sources(&path);
        } else if path.extension().is_some_and(|it| it == "rs") {
            text += &fs::read_to_string(path).expect("a source");
        }
    }
    text
}
