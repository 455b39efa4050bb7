//! Compiles the trimmed `.proto` files of Envoy's resources with protox, so that nobody needs a protoc.

use std::path::{Path, PathBuf};

/// Messages whose `Debug` would print secrets; `envoy/src/redact.rs` writes it for them.
const SECRET: [&str; 3] = [
    ".envoy.config.core.v3.DataSource",
    ".envoy.config.core.v3.HeaderValue",
    ".envoy.extensions.filters.http.api_key_auth.v3.Credential",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new("../proto");
    let mut files = Vec::new();
    for folder in ["envoy", "xds"] {
        println!("cargo::rerun-if-changed=../proto/{folder}");
        collect(&root.join(folder), &mut files)?;
    }
    files.retain(|file| !file.starts_with("../proto/envoy/service"));
    files.sort();
    let descriptors = protox::compile(files, [root])?;
    prost_build::Config::new()
        .include_file("wire.rs")
        // Whatever a filter is configured with may be a secret: printed by its length only.
        .extern_path(".google.protobuf.Any", "crate::any::Any")
        // A stable order on the wire: equal content has equal bytes.
        .btree_map(["."])
        .enable_type_names()
        .skip_debug(SECRET)
        .compile_fds(descriptors)?;
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in folder.read_dir()? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "proto")
        {
            files.push(path);
        }
    }
    Ok(())
}
