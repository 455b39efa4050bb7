//! Owns the choice of ports for components that can't choose their own.
//! Must not know: who listens.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the range that the kernel takes the ports of outgoing connections from: a component that is
/// killed and started again finds its port still free.
const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;

/// A port on loopback that nobody listens on, and that no other caller got or will soon get.
pub fn free() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Test binaries that run side by side start at different places.
    let start = std::process::id().wrapping_mul(97);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + start.wrapping_add(step) % COUNT;
        let port = u16::try_from(port).expect("the range ends below 65536");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
