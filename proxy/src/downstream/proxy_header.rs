//! Reads the PROXY header from a socket, and not one byte behind it: what the
//! header does not take stays in the kernel for whoever reads next.

use std::io;
use std::net::SocketAddr;

use knoxcall_filters::proxy_protocol::{Header, LONGEST, Source, parse};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Most headers fit in; the longest are read in steps.
const STEP: usize = 512;

#[derive(Debug, PartialEq, Eq)]
pub enum ReadHeader {
    /// `None`: the socket's own peer counts.
    Source(Option<SocketAddr>),
    Invalid,
    /// Closed or broken before its end.
    Gone,
}

pub async fn read_header(stream: &mut TcpStream) -> ReadHeader {
    let mut header = Vec::new();
    loop {
        match step(stream, &mut header).await {
            Ok(Header::NeedMore) => {}
            Ok(Header::Invalid) => return ReadHeader::Invalid,
            Ok(Header::Done { source, .. }) => {
                return ReadHeader::Source(match source {
                    Source::Client(client) => Some(client),
                    Source::Peer => None,
                });
            }
            Err(_) => return ReadHeader::Gone,
        }
    }
}

/// Looks at what has come, and takes as much of it as the header has.
async fn step(stream: &mut TcpStream, header: &mut Vec<u8>) -> io::Result<Header> {
    let known = header.len();
    header.resize((known + STEP).min(LONGEST), 0);
    let space = header.get_mut(known..).unwrap_or_default();
    let seen = stream.peek(space).await?;
    if seen == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    header.truncate(known + seen);
    let judged = parse(header);
    let own = match judged {
        Header::NeedMore => header.len(),
        Header::Done { consumed, .. } => consumed,
        Header::Invalid => return Ok(judged),
    };
    header.truncate(own);
    stream
        .read_exact(header.get_mut(known..).unwrap_or_default())
        .await?;
    Ok(judged)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        (client.unwrap(), accepted.unwrap().0)
    }

    /// With as many fields behind the addresses as there may be.
    fn long_header() -> Vec<u8> {
        let rest = LONGEST - 16;
        let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11".to_vec();
        header.extend(u16::try_from(rest).unwrap().to_be_bytes());
        header.extend([192, 0, 2, 1, 198, 51, 100, 1, 0, 9, 1, 187]);
        header.resize(LONGEST, 0);
        header
    }

    #[tokio::test]
    async fn takes_the_header_and_nothing_behind_it() {
        let line = b"PROXY TCP4 192.0.2.1 198.51.100.1 9 443\r\n".to_vec();
        for header in [line, long_header()] {
            let (mut client, mut server) = pair().await;
            client
                .write_all(&[&header[..], b"GET /"].concat())
                .await
                .unwrap();
            let source = "192.0.2.1:9".parse().unwrap();
            let read = read_header(&mut server).await;
            assert_eq!(read, ReadHeader::Source(Some(source)));
            drop(client);
            let mut rest = String::new();
            server.read_to_string(&mut rest).await.unwrap();
            assert_eq!(rest, "GET /");
        }
    }

    #[tokio::test]
    async fn a_header_may_come_byte_by_byte() {
        let (mut client, mut server) = pair().await;
        let reading = tokio::spawn(async move { read_header(&mut server).await });
        for byte in b"PROXY UNKNOWN\r\n" {
            client.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(reading.await.unwrap(), ReadHeader::Source(None));
    }

    #[tokio::test]
    async fn garbage_is_told_from_a_client_that_has_gone() {
        let (mut client, mut server) = pair().await;
        client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        assert_eq!(read_header(&mut server).await, ReadHeader::Invalid);
        let (mut client, mut server) = pair().await;
        client.write_all(b"PROXY TCP4").await.unwrap();
        drop(client);
        assert_eq!(read_header(&mut server).await, ReadHeader::Gone);
    }
}
