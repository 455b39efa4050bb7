//! Owns `Debug` of the wire messages that hold secrets. Must not know: what the secrets are for.

use std::fmt;

use crate::wire::native::{KeyPair, Plugin};

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair")
            .field(
                "certificate",
                &format_args!("{} bytes", self.certificate.len()),
            )
            .field("private_key", &"[redacted]")
            .finish()
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin")
            .field("name", &self.name)
            .field("config", &"[redacted]")
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_holds_no_secret() {
        let pair = KeyPair {
            certificate: "public".into(),
            private_key: "hush".into(),
        };
        let plugin = Plugin {
            name: "key-auth".into(),
            config: r#"{"key":"hush"}"#.into(),
        };
        let printed = format!("{pair:?} {plugin:?}");
        assert!(!printed.contains("hush"), "{printed}");
        assert!(printed.contains("key-auth"));
    }
}
