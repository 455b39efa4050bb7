//! The `bellwether` binary: `serve`, and the command line.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    bellwether_server::program::run(std::env::args_os().collect()).await
}
