//! Writes the table of settings into the README: `cargo run -p e2e --example settings_table`.

use e2e::settings;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let readme = settings::readme();
    let text = std::fs::read_to_string(&readme)?;
    let new = settings::with_table(&text).ok_or_else(|| {
        format!("{} lacks {} or {}", readme.display(), settings::BEGIN, settings::END)
    })?;
    std::fs::write(&readme, new)?;
    Ok(())
}
