//! Owns the response half of a stream as HTTP/2 sees it: gRPC frames made of shared bytes, then
//! trailers. Must not know: what the bytes say.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bellwether::session::Outgoing;
use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderMap;
use http_body::Frame;
use tokio::sync::mpsc;
use tonic::Status;

use crate::gzip;

/// What a stream's task gives to its connection.
#[derive(Debug)]
pub(crate) enum Outbound {
    /// A response.
    Message(Message),
    /// The end.
    End(Status),
}

/// A gRPC message in up to three parts: the five byte head, what streams share, and what is this
/// stream's own. Nothing is copied.
#[derive(Debug)]
pub(crate) struct Message {
    head: Bytes,
    shared: Bytes,
    own: Bytes,
}

impl Message {
    /// As it is.
    pub(crate) fn plain(shared: Bytes, own: Bytes) -> Self {
        Self::new(0, shared, own)
    }

    /// A response for a client that may accept gzip.
    pub(crate) fn of(response: Outgoing, accepts_gzip: bool) -> Self {
        let Outgoing {
            payload,
            twin,
            nonce,
        } = response;
        // What is this stream's alone would be compressed for it alone.
        let shared = twin.filter(|_| accepts_gzip);
        match shared.and_then(|twin| gzip::member(&payload, &twin, &nonce)) {
            Some((shared, own)) => Self::new(1, shared, own),
            None => Self::plain(payload, nonce),
        }
    }

    fn new(is_compressed: u8, shared: Bytes, own: Bytes) -> Self {
        let len = shared.len() + own.len();
        let len = u32::try_from(len).expect("responses are cut at a few MiB");
        let mut head = BytesMut::with_capacity(5);
        head.put_u8(is_compressed);
        head.put_u32(len);
        Self {
            head: head.freeze(),
            shared,
            own,
        }
    }

    /// Bytes on the wire, without the head.
    pub(crate) fn len(&self) -> usize {
        self.shared.len() + self.own.len()
    }
}

/// The body of a streaming response. A message leaves as three frames.
#[derive(Debug)]
pub(crate) struct StreamBody {
    outbox: mpsc::Receiver<Outbound>,
    shared: Option<Bytes>,
    own: Option<Bytes>,
    ended: bool,
}

impl StreamBody {
    pub(crate) fn new(outbox: mpsc::Receiver<Outbound>) -> Self {
        Self {
            outbox,
            shared: None,
            own: None,
            ended: false,
        }
    }
}

impl http_body::Body for StreamBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(bytes) = self.shared.take().or_else(|| self.own.take()) {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = match ready!(self.outbox.poll_recv(cx)) {
            Some(Outbound::Message(message)) => {
                let something = |bytes: &Bytes| !bytes.is_empty();
                self.shared = Some(message.shared).filter(something);
                self.own = Some(message.own).filter(something);
                Frame::data(message.head)
            }
            Some(Outbound::End(status)) => self.end(&status),
            None => self.end(&Status::unavailable("the stream's task is gone")),
        };
        Poll::Ready(Some(Ok(frame)))
    }
}

impl StreamBody {
    fn end(&mut self, status: &Status) -> Frame<Bytes> {
        self.ended = true;
        let mut trailers = HeaderMap::new();
        if status.add_header(&mut trailers).is_err() {
            // Only a message that can't be a header gets here; the code alone always can.
            let _ = Status::new(status.code(), "").add_header(&mut trailers);
        }
        Frame::trailers(trailers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    async fn next(body: &mut StreamBody) -> Frame<Bytes> {
        body.frame().await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_message_is_framed_without_copying_its_payload() {
        let (send, outbox) = mpsc::channel(2);
        let payload = Bytes::from_static(b"shared");
        let response = Outgoing {
            payload: payload.clone(),
            twin: None,
            nonce: Bytes::from_static(b"n1"),
        };
        let message = Message::of(response, true);
        send.send(Outbound::Message(message)).await.unwrap();
        send.send(Outbound::End(Status::not_found("no")))
            .await
            .unwrap();
        let mut body = StreamBody::new(outbox);
        let head = next(&mut body).await.into_data().unwrap();
        assert_eq!(&head[..], [0, 0, 0, 0, 8]);
        let sent = next(&mut body).await.into_data().unwrap();
        assert_eq!(sent.as_ptr(), payload.as_ptr());
        assert_eq!(next(&mut body).await.into_data().unwrap(), "n1");
        let trailers = next(&mut body).await.into_trailers().unwrap();
        assert_eq!(
            (&trailers["grpc-status"], &trailers["grpc-message"]),
            (&"5".parse().unwrap(), &"no".parse().unwrap())
        );
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn a_shared_message_is_compressed_where_it_is_accepted() {
        for (accepts, flag) in [(true, 1), (false, 0)] {
            let response = Outgoing {
                payload: Bytes::from(vec![b'x'; 10_000]),
                twin: Some(Default::default()),
                nonce: Bytes::from_static(b"n1"),
            };
            let message = Message::of(response, accepts);
            assert_eq!(message.head[0], flag);
            assert_eq!(message.len() < 1_000, accepts);
            let len = u32::from_be_bytes(message.head[1..].try_into().unwrap());
            assert_eq!(len as usize, message.len());
        }
    }
}
