//! Owns `google.protobuf.Any` and the types that Envoy's resources are configured with.
//! Must not know: what is in it.

use std::fmt;

use prost::{Message, Name};

/// A message of any type. What a filter is configured with may be a secret, so it is never printed.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
#[prost(skip_debug)]
pub struct Any {
    /// The type, as `type.googleapis.com/…`.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The encoded message.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

impl Any {
    /// Packs a message.
    #[must_use]
    pub fn pack<M: Name>(message: &M) -> Self {
        Self {
            type_url: format!("type.googleapis.com/{}", M::full_name()),
            value: message.encode_to_vec(),
        }
    }

    /// Unpacks what [`Any::pack`] packed; `None` if it is of another type or can't be read.
    #[must_use]
    pub fn unpack<M: Name + Default>(&self) -> Option<M> {
        let (_, name) = self.type_url.rsplit_once('/')?;
        (name == M::full_name()).then_some(())?;
        M::decode(self.value.as_slice()).ok()
    }
}

impl fmt::Debug for Any {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Any({}, {} bytes)", self.type_url, self.value.len())
    }
}
