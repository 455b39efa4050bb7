//! The `bellwether-agent` binary.
fn main() {}
