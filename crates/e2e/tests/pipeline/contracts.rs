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
    for (program, contract) in [(Program::Analytics, analytics_api::contract())] {
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
