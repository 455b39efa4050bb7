//! Owns how a release is written. Must not know: what is in it.
//!
//! Never a field with another meaning, never one number twice: what was written years ago is read.

use prost::Message;

/// The resources of one part of a release.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Bucket {
    /// In the order of view, type and name.
    #[prost(message, repeated, tag = "1")]
    pub(super) items: Vec<Item>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Item {
    #[prost(uint32, tag = "1")]
    pub(super) view: u32,
    #[prost(message, optional, tag = "2")]
    pub(super) id: Option<Id>,
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) body: bytes::Bytes,
    #[prost(message, repeated, tag = "4")]
    pub(super) refers: Vec<Id>,
    /// Milliseconds; 0: none.
    #[prost(uint64, tag = "5")]
    pub(super) ttl: u64,
}

#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub(super) struct Id {
    #[prost(string, tag = "1")]
    pub(super) type_url: String,
    #[prost(string, tag = "2")]
    pub(super) name: String,
}

/// Where the parts are.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Manifest {
    /// How it is to be read; 1.
    #[prost(uint32, tag = "1")]
    pub(super) format: u32,
    #[prost(uint64, tag = "2")]
    pub(super) resources: u64,
    #[prost(uint64, tag = "3")]
    pub(super) bytes: u64,
    #[prost(message, repeated, tag = "4")]
    pub(super) buckets: Vec<Part>,
}

/// The blobs that make up one bucket.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub(super) struct Part {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub(super) blobs: Vec<bytes::Bytes>,
}
