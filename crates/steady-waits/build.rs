//! Compiles the one function of this crate, where there is a glibc to replace it in.

use std::env;

const SOURCE: &str = "steady_waits.c";

#[expect(clippy::disallowed_methods, reason = "cargo passes the target in the environment")]
fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    let target = |what| env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    if target("OS") == "linux" && target("ENV") == "gnu" {
        // Whole: nobody asks for it by name before the linker has met librdkafka.
        cc::Build::new()
            .file(SOURCE)
            .link_lib_modifier("+whole-archive")
            .warnings_into_errors(true)
            .compile("steady_waits");
    }
}
