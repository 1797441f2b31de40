//! Compiles `proto/*.proto` with a pure Rust compiler, so that no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(
        [
            "admin.proto",
            "kv.proto",
            "watch.proto",
            "lease.proto",
            "cluster.proto",
            "maintenance.proto",
            "auth.proto",
        ],
        ["proto"],
    )?;
    tonic_prost_build::configure()
        .codec_path("crate::codec::Codec")
        // Keys and values are slices of the message that they came in.
        .bytes(".")
        // Credentials must not reach a log through a derived Debug: rpc.rs writes it by hand.
        .skip_debug([
            "etcdserverpb.AuthenticateRequest",
            "etcdserverpb.AuthenticateResponse",
            "etcdserverpb.AuthUserAddRequest",
            "etcdserverpb.AuthUserChangePasswordRequest",
        ])
        .compile_fds(files)?;
    Ok(())
}
