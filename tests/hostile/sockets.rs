//! Connections that don't speak HTTP/2, or stop.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::victim::Victim;
use crate::harness::programs::PATIENCE;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The server closes it, whatever it said before.
async fn is_closed(connection: &mut TcpStream) {
    let mut buffer = vec![0; 4096];
    let closed = timeout(PATIENCE, async {
        while !matches!(connection.read(&mut buffer).await, Ok(0) | Err(_)) {}
    });
    closed.await.expect("the server closes the connection");
}

/// Everything that may be wrong from the first byte on ends its connection at once.
#[tokio::test(flavor = "multi_thread")]
async fn garbage_closes_its_connection_and_no_other() {
    let mut victim = Victim::start(&[]).await;
    let noise: Vec<u8> = (0..4096_u32).map(|n| (n * 7919 % 251) as u8).collect();
    let after = |bytes: &[u8]| [PREFACE, bytes].concat();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    for said in [
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(),
        // The beginning of a TLS handshake.
        [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &noise[..500]].concat(),
        noise.clone(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r".to_vec(),
        after(&noise),
        // A frame of 16 MB, which nobody has allowed.
        after(&[&settings[..], &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]].concat()),
        // Data for a stream that was never opened.
        after(&[&settings[..], &[0, 0, 1, 0, 0, 0, 0, 0, 1, 0]].concat()),
        // A window that grows beyond what there is.
        after(
            &[
                &settings[..],
                &[0, 0, 4, 8, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff],
            ]
            .concat(),
        ),
        // Headers that can't be decoded.
        after(
            &[
                &settings[..],
                &[0, 0, 4, 1, 4, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff],
            ]
            .concat(),
        ),
    ] {
        let mut connection = TcpStream::connect(victim.address()).await.unwrap();
        // It may be closed before all of it is written.
        let _ = connection.write_all(&said).await;
        is_closed(&mut connection).await;
    }
    victim.is_well().await;
    victim.grew_at_most(32);
}

/// Headers that never end: they are bounded, and then over.
#[tokio::test(flavor = "multi_thread")]
async fn endless_headers_close_their_connection() {
    let mut victim = Victim::start(&[]).await;
    let mut connection = TcpStream::connect(victim.address()).await.unwrap();
    connection.write_all(PREFACE).await.unwrap();
    connection
        .write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])
        .await
        .unwrap();
    // HEADERS without END_HEADERS, and then CONTINUATION after CONTINUATION.
    connection
        .write_all(&[0, 0, 0, 1, 0, 0, 0, 0, 1])
        .await
        .unwrap();
    // A literal header that is not kept: "a" is a hundred "x".
    let header = [&[0, 1, b'a', 100][..], &[b'x'; 100]].concat();
    let block = header.repeat(100);
    let len = u32::try_from(block.len()).unwrap().to_be_bytes();
    let frame = [&len[1..], &[9, 0, 0, 0, 0, 1], &block].concat();
    let (mut reader, mut writer) = connection.into_split();
    let sent = timeout(PATIENCE, async {
        let mut sent = 0;
        while writer.write_all(&frame).await.is_ok() {
            sent += frame.len();
        }
        sent
    });
    let sent = sent.await.expect("the server closes the connection");
    let mut rest = Vec::new();
    let _ = reader.read_to_end(&mut rest).await;
    eprintln!("closed after {} KiB of headers", sent >> 10);
    victim.is_well().await;
    victim.grew_at_most(32);
}

/// Connections that were opened and say nothing, stop in the middle of the first words, or after them:
/// the server keeps none of them. This takes as long as its patience, some 30 s.
#[tokio::test(flavor = "multi_thread")]
async fn half_open_connections_are_closed() {
    let mut victim = Victim::start(&[]).await;
    let mut idle = Vec::new();
    for n in 0..300 {
        let mut connection = TcpStream::connect(victim.address()).await.unwrap();
        let said = match n % 4 {
            0 => &[][..],
            1 => &PREFACE[..1],
            2 => &PREFACE[..PREFACE.len() - 1],
            _ => PREFACE,
        };
        connection.write_all(said).await.unwrap();
        idle.push(connection);
    }
    victim.is_well().await;
    for (n, connection) in idle.iter_mut().enumerate() {
        is_closed(connection).await;
        if n % 50 == 0 {
            victim.is_well().await;
        }
    }
    victim.grew_at_most(64);
}
