//! The APIs' contracts: the copies that are committed, and what is served.

use e2e::{Answer, Pipeline, Program, contracts};
use reqwest::Method;

#[test]
fn the_committed_contracts_are_those_of_the_code() {
    for (path, contract) in contracts::all() {
        let committed = std::fs::read(&path).unwrap_or_default();
        assert!(
            committed == *contract.json(),
            "{} is not the code's: run `cargo run -p e2e --example contracts`",
            path.display()
        );
    }
}

#[tokio::test]
async fn each_api_serves_its_contract_and_a_page_that_needs_nothing_from_elsewhere() {
    let pipeline = Pipeline::new("contracts").await;
    for (program, contract) in
        [(Program::Ingest, ingest_api::contract()), (Program::Analytics, analytics_api::contract())]
    {
        let service = pipeline.start(program, &[]).await;

        let json = pipeline.http.get(&service.url("/openapi.json")).await;
        assert_eq!((json.status, json.header("content-type")), (200, "application/json"));
        assert!(json.body.as_bytes() == *contract.json());
        assert_eq!(json.json()["openapi"], "3.1.0");

        let page = pipeline.http.get(&service.url("/docs")).await;
        assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
        assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
        for path in json.json()["paths"].as_object().expect("paths").keys() {
            assert!(page.body.contains(path), "{path} is not on the page");
        }
        for fetching in ["src=", "<link", "<script", "url(", "@import", "<iframe"] {
            assert!(!page.body.contains(fetching), "the page has {fetching}");
        }

        let post = pipeline.http.request(Method::POST, &service.url("/docs"));
        assert_eq!(Answer::to(post).await.status, 405);
    }
}

#[tokio::test]
async fn whatever_analytics_are_asked_the_answer_is_in_the_contract() {
    let pipeline = Pipeline::new("contractanalytics").await;
    let settings = [("PUBLIC_INGEST_URL", "https://events.example.com")];
    let analytics = pipeline.start(Program::Analytics, &settings).await;

    let said = pipeline.check_contract(&analytics, &[]).await;

    assert_tested(&said, 3);
}

#[tokio::test]
async fn whatever_ingest_is_sent_the_answer_is_in_the_contract() {
    let pipeline = Pipeline::new("contractingest").await;
    let settings = [("LINK_SIGNING_KEY", "0123456789abcdef0123456789abcdef")];
    let ingest = pipeline.start(Program::Ingest, &settings).await;

    // A schema cannot say that a timestamp must not be too old.
    let not_said = ["--exclude-checks", "positive_data_acceptance"];
    let said = pipeline.check_contract(&ingest, &not_said).await;

    assert_tested(&said, 6);
}

/// Asserts that all operations were tested.
#[track_caller]
fn assert_tested(said: &str, operations: usize) {
    assert!(said.contains(&format!("Selected: {operations}/{operations}")), "{said}");
    assert!(said.contains(&format!("Tested: {operations}")), "{said}");
}
