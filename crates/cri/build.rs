//! Compiles `proto/*.proto` with a pure Rust compiler, so that no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(["proto/cri.proto", "proto/windlass.proto"], ["proto"])?;
    // Credentials must not reach a log through a derived Debug: lib.rs writes it by hand.
    tonic_prost_build::configure().skip_debug(["runtime.v1.AuthConfig"]).compile_fds(files)?;
    Ok(())
}
