//! Compiles the schema with a compiler written in Rust, so that nobody has to install `protoc`.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

const SCHEMA: &str = "proto/ads/events/v1/ad_event.proto";

#[expect(clippy::disallowed_methods, reason = "cargo passes the output folder in the environment")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");

    let descriptors = protox::compile([SCHEMA], ["proto"])?;

    // Readers in other languages load this at run time instead of running a code generator.
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("ad_event.binpb"), descriptors.encode_to_vec())?;

    prost_build::Config::new().compile_fds(descriptors)?;
    Ok(())
}
