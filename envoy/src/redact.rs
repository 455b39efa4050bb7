//! Owns `Debug` of the messages that may hold secrets. Must not know: what the secrets are for.

use std::fmt;

use crate::wire::core::data_source::Specifier;
use crate::wire::core::{DataSource, HeaderValue};
use crate::wire::http_filter::api_key_auth::v3::Credential;

impl fmt::Debug for Specifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InlineBytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::InlineString(text) => write!(f, "{} bytes", text.len()),
            Self::Filename(name) => write!(f, "file {name:?}"),
            Self::EnvironmentVariable(name) => write!(f, "variable {name:?}"),
        }
    }
}

impl fmt::Debug for DataSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DataSource").field(&self.specifier).finish()
    }
}

impl fmt::Debug for HeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeaderValue")
            .field("key", &self.key)
            .field("value", &"[redacted]")
            .finish()
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("key", &"[redacted]")
            .field("client", &self.client)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::any::Any;

    #[test]
    fn debug_output_holds_no_secret() {
        let source = DataSource {
            specifier: Some(Specifier::InlineString("hush".into())),
        };
        let header = HeaderValue {
            key: "authorization".into(),
            value: "hush".into(),
        };
        let credential = Credential {
            key: "hush".into(),
            client: "jack".into(),
        };
        let any = Any::pack(&source);
        let printed = format!("{source:?} {header:?} {credential:?} {any:?}");
        assert!(!printed.contains("hush"), "{printed}");
        assert!(printed.contains("authorization") && printed.contains("jack"));
        assert!(printed.contains("envoy.config.core.v3.DataSource"));
        assert_eq!(any.unpack::<DataSource>(), Some(source));
        assert_eq!(any.unpack::<HeaderValue>(), None);
    }
}
