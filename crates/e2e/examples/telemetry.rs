//! Writes the list of metrics into `docs/TELEMETRY.md`, as running services show them:
//! `target/debug/local-stack exec -- cargo run -p e2e --example telemetry`.

use e2e::{Pipeline, telemetry};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pipeline = Pipeline::new("telemetrylist").await;
    let services = pipeline.start_all().await;
    let list = telemetry::list(&telemetry::families(&pipeline, &services).await);

    let document = telemetry::document();
    let text = std::fs::read_to_string(&document)?;
    let new = telemetry::with_list(&text, &list).ok_or_else(|| {
        format!("{} lacks {} or {}", document.display(), telemetry::BEGIN, telemetry::END)
    })?;
    std::fs::write(&document, new)?;
    Ok(())
}
