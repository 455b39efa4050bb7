//! Compiles the contract's `.proto` files with protox, so that nobody needs a protoc for them.

/// Messages whose `Debug` would print secrets; `proto/src/redact.rs` writes it for them.
const SECRET: [&str; 2] = [".bellwether.v1.Plugin", ".bellwether.v1.KeyPair"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for folder in ["proto/envoy", "proto/google", "proto/bellwether"] {
        println!("cargo::rerun-if-changed={folder}");
    }
    let files = [
        "envoy/service/discovery/v3/ads.proto",
        "envoy/service/status/v3/csds.proto",
        "bellwether/v1/report.proto",
        "bellwether/v1/resource.proto",
    ];
    let descriptors = protox::compile(files, ["proto"])?;
    prost_build::Config::new()
        .include_file("wire.rs")
        .compile_well_known_types()
        // Encoded once and shared by every stream that sends it.
        .bytes([".google.protobuf.Any"])
        // A stable order on the wire and in tests.
        .btree_map(["."])
        .skip_debug(SECRET)
        .compile_fds(descriptors)?;
    Ok(())
}
