//! Owns the compressed form of responses: made once of a payload that streams share, completed for each
//! stream without compressing again. Must not know: what is compressed.
//!
//! A gzip member (RFC 1952) is a head, deflated data, and a tail with checksum and length. The shared
//! part is the head and the deflated payload, which ends on a byte's boundary but not the data (a sync
//! flush, RFC 1951). A stream adds its nonce as a last, stored block, and the tail: the checksum goes on
//! from the payload's.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use crc32fast::Hasher;
use flate2::{Compress, Compression, FlushCompress, Status};

/// Below this, a response is about one packet anyway.
const MIN_BYTES: usize = 1 << 10;

/// No name, no time, an unknown system.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// Bytes of the checksum at the end of a shared form.
const CHECKSUM_BYTES: usize = 4;

/// Where the shared form of a payload is kept.
type Twin = Arc<std::sync::OnceLock<Bytes>>;

/// A payload and a nonce, as one gzip member in two parts: what is shared, and what is this stream's.
pub(crate) fn member(payload: &Bytes, twin: &Twin, nonce: &[u8]) -> Option<(Bytes, Bytes)> {
    if payload.len() < MIN_BYTES {
        return None;
    }
    // Whoever comes while it is made waits for just that.
    let shared = twin.get_or_init(|| shared(payload).unwrap_or_default());
    let at = shared.len().checked_sub(CHECKSUM_BYTES)?;
    let checksum = u32::from_le_bytes(shared[at..].try_into().ok()?);
    let tail = tail(payload.len(), checksum, nonce)?;
    Some((shared.slice(..at), tail))
}

/// The shared form and the payload's checksum. `None` if it is not worth it.
fn shared(payload: &[u8]) -> Option<Bytes> {
    let mut out = Vec::with_capacity(payload.len() / 2 + 64);
    out.extend_from_slice(&HEAD);
    let mut compress = Compress::new(Compression::fast(), false);
    loop {
        let from = usize::try_from(compress.total_in()).ok()?;
        if out.capacity() - out.len() < 64 {
            out.reserve(out.capacity() / 2);
        }
        let status = compress.compress_vec(&payload[from..], &mut out, FlushCompress::Sync);
        let is_all_in = compress.total_in() == payload.len() as u64;
        match status.ok()? {
            // Room is left over, so the flush is complete.
            Status::Ok | Status::BufError if is_all_in && out.len() < out.capacity() => break,
            Status::Ok | Status::BufError => out.reserve(out.capacity() / 2),
            Status::StreamEnd => return None,
        }
    }
    if out.len() >= payload.len() {
        return None;
    }
    let mut checksum = Hasher::new();
    checksum.update(payload);
    out.extend_from_slice(&checksum.finalize().to_le_bytes());
    Some(out.into())
}

/// The nonce as the last block, checksum and length.
fn tail(payload: usize, checksum: u32, nonce: &[u8]) -> Option<Bytes> {
    let len = u16::try_from(nonce.len()).ok()?;
    let total = u32::try_from(payload).ok()?.wrapping_add(len.into());
    let mut hasher = Hasher::new_with_initial_len(checksum, payload as u64);
    hasher.update(nonce);
    let mut tail = BytesMut::with_capacity(nonce.len() + 13);
    // Final, stored.
    tail.put_u8(1);
    tail.put_u16_le(len);
    tail.put_u16_le(!len);
    tail.put_slice(nonce);
    tail.put_u32_le(hasher.finalize());
    tail.put_u32_le(total);
    Some(tail.freeze())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::bufread::GzDecoder;

    use super::*;

    /// The strict decoder: one member, and nothing behind it.
    fn unpack(parts: &(Bytes, Bytes)) -> Vec<u8> {
        let whole = [parts.0.clone(), parts.1.clone()].concat();
        let mut decoder = GzDecoder::new(whole.as_slice());
        let mut out = Vec::new();
        decoder.read_to_end(&mut out).unwrap();
        assert!(decoder.into_inner().is_empty(), "nothing is left over");
        out
    }

    #[test]
    fn streams_share_what_is_compressed_and_each_reads_its_own() {
        for size in [MIN_BYTES, 5_000, 70_000, 3 << 20] {
            let text: Vec<u8> = (0..size)
                .map(|n| b"route cluster 0123"[n * n % 17])
                .collect();
            let payload = Bytes::from(text);
            let twin = Twin::default();
            let nonces: [&[u8]; 3] = [b"\x2a\x011", b"\x2a\x03200", b""];
            let mut first = None;
            for nonce in nonces {
                let parts = member(&payload, &twin, nonce).unwrap();
                assert_eq!(unpack(&parts), [&payload, nonce].concat());
                assert!(parts.0.len() < payload.len());
                let at = *first.get_or_insert(parts.0.as_ptr());
                assert_eq!(parts.0.as_ptr(), at, "compressed once");
            }
        }
    }

    #[test]
    fn what_does_not_shrink_or_is_small_stays_as_it_is() {
        let small = Bytes::from(vec![0; MIN_BYTES - 1]);
        assert!(member(&small, &Twin::default(), b"n").is_none());
        let mut seed = 1_u64;
        let noise: Vec<u8> = (0..10_000)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                seed.to_be_bytes()[0]
            })
            .collect();
        let twin = Twin::default();
        assert!(member(&noise.clone().into(), &twin, b"n").is_none());
        assert!(twin.get().is_some(), "it is not tried again");
    }
}
