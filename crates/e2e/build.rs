//! Compiles the settable clock, which tests preload into the services, where there is a glibc.

use std::{env, error::Error, path::Path};

const SOURCE: &str = "clock/settable_clock.c";

#[expect(clippy::disallowed_methods, reason = "cargo passes these in the environment")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={SOURCE}");
    let library = Path::new(&env::var("OUT_DIR")?).join("settable_clock.so");
    println!("cargo::rustc-env=SETTABLE_CLOCK_LIBRARY={}", library.display());
    let target = |what| env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    if target("OS") != "linux" || target("ENV") != "gnu" {
        return Ok(());
    }

    let mut compile = cc::Build::new().try_get_compiler()?.to_command();
    compile.args(["-shared", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&library).arg(SOURCE);
    if !compile.status()?.success() {
        return Err(format!("{SOURCE} does not compile").into());
    }
    Ok(())
}
