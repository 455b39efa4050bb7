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

/// What a stream's task gives to its connection.
#[derive(Debug)]
pub(crate) enum Outbound {
    /// A response.
    Message(Outgoing),
    /// The end.
    End(Status),
}

/// The body of a streaming response. A message leaves as three frames: gRPC's five byte head, the
/// payload that all streams share, and this stream's nonce. Nothing is copied.
#[derive(Debug)]
pub(crate) struct StreamBody {
    outbox: mpsc::Receiver<Outbound>,
    payload: Option<Bytes>,
    nonce: Option<Bytes>,
    ended: bool,
}

impl StreamBody {
    pub(crate) fn new(outbox: mpsc::Receiver<Outbound>) -> Self {
        Self {
            outbox,
            payload: None,
            nonce: None,
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
        if let Some(bytes) = self.payload.take().or_else(|| self.nonce.take()) {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = match ready!(self.outbox.poll_recv(cx)) {
            Some(Outbound::Message(message)) => {
                let head = head(message.payload.len() + message.nonce.len());
                self.payload = Some(message.payload).filter(|bytes| !bytes.is_empty());
                self.nonce = Some(message.nonce).filter(|bytes| !bytes.is_empty());
                Frame::data(head)
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

/// Not compressed, and this long.
fn head(len: usize) -> Bytes {
    let len = u32::try_from(len).expect("responses are cut at a few MiB");
    let mut head = BytesMut::with_capacity(5);
    head.put_u8(0);
    head.put_u32(len);
    head.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn a_message_is_framed_without_copying_its_payload() {
        let (send, outbox) = mpsc::channel(2);
        let payload = Bytes::from_static(b"shared");
        let message = Outgoing {
            payload: payload.clone(),
            nonce: Bytes::from_static(b"n1"),
        };
        send.send(Outbound::Message(message)).await.unwrap();
        send.send(Outbound::End(Status::not_found("no")))
            .await
            .unwrap();
        let mut body = StreamBody::new(outbox);
        let head = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(&head[..], [0, 0, 0, 0, 8]);
        let sent = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(sent.as_ptr(), payload.as_ptr());
        assert_eq!(
            body.frame().await.unwrap().unwrap().into_data().unwrap(),
            "n1"
        );
        let trailers = body
            .frame()
            .await
            .unwrap()
            .unwrap()
            .into_trailers()
            .unwrap();
        assert_eq!(
            (&trailers["grpc-status"], &trailers["grpc-message"]),
            (&"5".parse().unwrap(), &"no".parse().unwrap())
        );
        assert!(body.frame().await.is_none());
    }
}
