//! The copies of the APIs' contracts in `docs/openapi`.

use std::path::PathBuf;

use service_kit::openapi::Contract;

/// Every contract, with the file that holds its copy.
pub fn all() -> Vec<(PathBuf, Contract)> {
    let folder = local_stack::repository().join("docs/openapi");
    vec![
        (folder.join("ingest-api.json"), ingest_api::contract()),
        (folder.join("analytics-api.json"), analytics_api::contract()),
    ]
}
