//! Owns the look at a request before it is decoded: what it would take in memory can be a hundred times
//! its bytes. Must not know: what requests mean.

use bellwether::fields;
use bellwether::wire::discovery::{DeltaDiscoveryRequest, DiscoveryRequest};
use bellwether::wire::native::NodeReport;
use bellwether::wire::status::ClientStatusRequest;
use tonic::Status;

/// Bytes of one request. A node that resumes names everything it holds, with versions: 100,000
/// resources are some 6 MB (R81).
const MAX_REQUEST_BYTES: usize = 16 << 20;

/// Bytes of a question about client status, or of a report.
const MAX_QUESTION_BYTES: usize = 64 << 10;

/// Names and versions in one request: all that a stream may subscribe to, beside all that fits into a
/// request of what it holds (R81).
const MAX_ELEMENTS: usize = 300_000;

/// Bytes of a node. Envoys that list all of their extensions say some 100 KB.
const MAX_NODE_BYTES: usize = 1 << 20;

/// Fields of an error. All that is rejected is named in one of its details.
const MAX_ERROR_FIELDS: usize = 1_000;

/// What is heavy in requests of one kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// How many bytes it may have.
    pub(crate) bytes: usize,
    /// How many fields it may have.
    pub(crate) elements: usize,
    /// The number of the field that holds a node.
    pub(crate) node: u32,
    /// The number of the field that holds an error.
    pub(crate) error: u32,
}

/// A message that clients send.
pub(crate) trait Weighed {
    /// What of it is looked at before it is decoded.
    const SHAPE: Shape;
}

impl Weighed for DeltaDiscoveryRequest {
    const SHAPE: Shape = Shape {
        bytes: MAX_REQUEST_BYTES,
        elements: MAX_ELEMENTS,
        node: 1,
        error: 7,
    };
}

impl Weighed for DiscoveryRequest {
    const SHAPE: Shape = Shape {
        bytes: MAX_REQUEST_BYTES,
        elements: MAX_ELEMENTS,
        node: 2,
        error: 6,
    };
}

impl Weighed for ClientStatusRequest {
    const SHAPE: Shape = Shape {
        bytes: MAX_QUESTION_BYTES,
        elements: MAX_QUESTION_BYTES,
        node: 2,
        // It has none.
        error: 0,
    };
}

impl Weighed for NodeReport {
    const SHAPE: Shape = Shape {
        bytes: MAX_QUESTION_BYTES,
        elements: MAX_QUESTION_BYTES,
        node: 1,
        // It has none.
        error: 0,
    };
}

/// Whether a request of this shape may be decoded.
pub(crate) fn check(request: &[u8], shape: Shape) -> Result<(), Status> {
    for (count, field) in fields::of(request).enumerate() {
        let field = field.map_err(|error| {
            Status::invalid_argument(format!("the request can't be read: {error}"))
        })?;
        if count >= shape.elements {
            return Err(Status::resource_exhausted(format!(
                "the request has more than {} names and other fields",
                shape.elements
            )));
        }
        if field.number == shape.node && field.inside.len() > MAX_NODE_BYTES {
            return Err(Status::resource_exhausted(format!(
                "the node has {} bytes, and {MAX_NODE_BYTES} bytes are the most that is read",
                field.inside.len()
            )));
        }
        let is_error = field.number == shape.error;
        if is_error && fields::count(field.inside, MAX_ERROR_FIELDS).is_none() {
            return Err(Status::invalid_argument(format!(
                "the error can't be read, or has more than {MAX_ERROR_FIELDS} fields"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bellwether::wire::core::Node;
    use bellwether::wire::google::protobuf::Any;
    use bellwether::wire::google::rpc;
    use prost::Message;
    use tonic::Code;

    use super::*;

    fn code<R: Weighed + Message>(request: &R) -> Code {
        let checked = check(&request.encode_to_vec(), R::SHAPE);
        checked.map_or_else(|status| status.code(), |()| Code::Ok)
    }

    #[test]
    fn what_would_take_far_more_than_its_bytes_is_not_decoded() {
        let node = |bytes: usize| {
            Some(Node {
                id: "x".repeat(bytes),
                ..Node::default()
            })
        };
        let error = |details: usize| {
            Some(rpc::Status {
                details: vec![Any::default(); details],
                ..rpc::Status::default()
            })
        };
        let names = |count: usize| vec![String::new(); count];
        for (expected, node, error, names) in [
            (Code::Ok, node(1000), error(10), names(MAX_ELEMENTS - 2)),
            (Code::ResourceExhausted, None, None, names(MAX_ELEMENTS + 1)),
            (Code::ResourceExhausted, node(2 << 20), None, Vec::new()),
            (Code::InvalidArgument, None, error(2_000), Vec::new()),
        ] {
            let delta = DeltaDiscoveryRequest {
                node: node.clone(),
                error_detail: error.clone(),
                resource_names_subscribe: names.clone(),
                ..DeltaDiscoveryRequest::default()
            };
            assert_eq!(code(&delta), expected);
            let sotw = DiscoveryRequest {
                node,
                error_detail: error,
                resource_names: names,
                ..DiscoveryRequest::default()
            };
            assert_eq!(code(&sotw), expected);
        }
        let shape = DiscoveryRequest::SHAPE;
        let group = check(&[0x13, 0x14], shape).unwrap_err();
        assert_eq!(group.code(), Code::InvalidArgument);
    }
}
