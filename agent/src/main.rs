//! The `bellwether-agent` binary.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    bellwether_agent::program::run(std::env::args_os().collect()).await
}
