//! Owns the way of requests out of the bytes of a stream: takes gRPC's frames apart, and keeps no byte of
//! a request longer than it takes to read it. Must not know: what requests say.

use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::Pin;

use bytes::{Buf, Bytes, BytesMut};
use http_body::Body as _;
use prost::Message;
use sync_wrapper::SyncWrapper;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::budget::Share;
use crate::weight::{self, Weighed};

/// Bytes of gRPC's frame before each message: a flag and the length.
const HEAD_BYTES: usize = 5;

/// What a buffer may keep of a long request, for the next one.
const KEPT_BYTES: usize = 64 << 10;

/// The requests of one stream.
#[derive(Debug)]
pub(crate) struct Inbox<R> {
    body: SyncWrapper<Body>,
    /// Of the next request.
    buffer: BytesMut,
    share: Share,
    /// The client has named a way of compression, of which we have none.
    is_encoded: bool,
    request: PhantomData<fn() -> R>,
}

impl<R: Message + Default + Weighed> Inbox<R> {
    pub(crate) fn new(body: Body, share: Share, is_encoded: bool) -> Self {
        Self {
            body: SyncWrapper::new(body),
            buffer: BytesMut::new(),
            share,
            is_encoded,
            request: PhantomData,
        }
    }

    /// The next request; `None` when the client has ended its half. Nothing is lost if it is dropped
    /// while it waits.
    pub(crate) async fn message(&mut self) -> Result<Option<R>, Status> {
        loop {
            if let Some(message) = self.split()? {
                weight::check(&message, R::SHAPE)?;
                let message = R::decode(message).map_err(|error| {
                    Status::invalid_argument(format!("the request can't be read: {error}"))
                })?;
                return Ok(Some(message));
            }
            match poll_fn(|cx| Pin::new(self.body.get_mut()).poll_frame(cx)).await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.share.hold(self.buffer.len() + data.len())?;
                        self.buffer.extend_from_slice(&data);
                    }
                }
                // It was given up, which is an end like any other.
                Some(Err(status)) if status.code() == Code::Cancelled => return Ok(None),
                Some(Err(status)) => return Err(status),
                None if self.buffer.is_empty() => return Ok(None),
                None => {
                    let text = "the stream ended in the middle of a request";
                    return Err(Status::invalid_argument(text));
                }
            }
        }
    }

    /// The bytes of the next request, once all are there.
    fn split(&mut self) -> Result<Option<Bytes>, Status> {
        let Some((head, rest)) = self.buffer.split_first_chunk::<HEAD_BYTES>() else {
            return Ok(None);
        };
        let [flag, len @ ..] = *head;
        match flag {
            0 => {}
            1 => {
                let text = "the request is compressed, and this server reads plain ones only";
                // What gRPC wants in each case.
                return Err(match self.is_encoded {
                    true => Status::unimplemented(text),
                    false => Status::internal(text),
                });
            }
            other => {
                let text = format!("{other} is no flag that a gRPC message can have");
                return Err(Status::internal(text));
            }
        }
        let len = u32::from_be_bytes(len) as usize;
        let most = R::SHAPE.bytes;
        if len > most {
            return Err(Status::resource_exhausted(format!(
                "the request has {len} bytes, and {most} bytes are the most that is read"
            )));
        }
        if rest.len() < len {
            return Ok(None);
        }
        let mut message = self.buffer.split_to(HEAD_BYTES + len);
        message.advance(HEAD_BYTES);
        if len > KEPT_BYTES || self.buffer.is_empty() {
            // What is left must not keep the memory of what was read.
            self.buffer = BytesMut::from(&self.buffer[..]);
        }
        self.share.hold(self.buffer.len())?;
        Ok(Some(message.freeze()))
    }
}

#[cfg(test)]
mod tests {
    use bellwether::wire::discovery::DeltaDiscoveryRequest as Request;
    use http_body_util::Full;

    use super::*;
    use crate::budget::Budgets;

    fn framed(type_url: &str) -> Vec<u8> {
        let request = Request {
            type_url: type_url.to_owned(),
            ..Request::default()
        };
        let message = request.encode_to_vec();
        let len = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[0][..], &len, &message].concat()
    }

    fn inbox(bytes: Vec<u8>) -> Inbox<Request> {
        let body = Full::new(Bytes::from(bytes));
        Inbox::new(
            Body::new(body),
            Budgets::default().unfinished.share(),
            false,
        )
    }

    #[tokio::test]
    async fn requests_are_read_however_they_are_cut() {
        let long = "x".repeat(KEPT_BYTES * 2);
        let said = ["a", &long, "", "b"];
        let all: Vec<u8> = said.iter().flat_map(|it| framed(it)).collect();
        let mut inbox = inbox(all);
        for type_url in said {
            let request = inbox.message().await.unwrap().unwrap();
            assert_eq!(request.type_url, type_url);
        }
        assert_eq!(inbox.message().await.unwrap(), None);
        assert_eq!((inbox.share.held, inbox.buffer.capacity()), (0, 0));
    }

    #[tokio::test]
    async fn what_is_no_request_has_a_status_of_its_own() {
        let half = framed("abc")[..6].to_vec();
        for (bytes, code) in [
            (half, Code::InvalidArgument),
            (vec![0, 0, 0, 0, 1, 0xff], Code::InvalidArgument),
            (vec![0, 0xff, 0xff, 0xff, 0xff], Code::ResourceExhausted),
            (vec![1, 0, 0, 0, 0], Code::Internal),
            (vec![2, 0, 0, 0, 0], Code::Internal),
        ] {
            let status = inbox(bytes).message().await.unwrap_err();
            assert_eq!(status.code(), code, "{status:?}");
        }
    }
}
