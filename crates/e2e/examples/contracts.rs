//! Writes the copies of the APIs' contracts anew.

use e2e::contracts;

fn main() -> std::io::Result<()> {
    for (path, contract) in contracts::all() {
        std::fs::write(path, contract.json())?;
    }
    Ok(())
}
