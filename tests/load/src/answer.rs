//! Reading one HTTP/1.1 answer, to its exact end.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::failure::{Failed, Failure};

/// Where an answer may end that has not begun yet.
const HEAD: &str = "in an answer's head";

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// The connection can take another request.
    pub(crate) keeps: bool,
    /// Its `X-Request-Id`.
    pub(crate) echo: Option<String>,
}

/// Where the body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Length(usize),
    Chunked,
    UntilEnd,
}

#[derive(Debug)]
struct Head {
    status: u16,
    length: usize,
    body: Body,
    keeps: bool,
    echo: Option<String>,
}

/// Reads one answer from `stream`.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Answer, Failed> {
    let mut bytes = Vec::with_capacity(1024);
    let head = loop {
        match head(&bytes)? {
            // 100 and its like; the answer itself comes after it.
            Some(head) if head.status < 200 => drop(bytes.drain(..head.length)),
            Some(head) => break head,
            None => more(stream, &mut bytes, HEAD).await?,
        }
    };
    bytes.drain(..head.length);
    let body = match head.body {
        Body::Length(length) => {
            while bytes.len() < length {
                more(stream, &mut bytes, "in an answer's body").await?;
            }
            body_of_length(bytes, length)?
        }
        Body::Chunked => chunked(stream, bytes).await?,
        Body::UntilEnd => {
            let read = stream.read_to_end(&mut bytes).await;
            read.map_err(|error| Failed::io(error).within())?;
            bytes
        }
    };
    Ok(Answer { status: head.status, body, keeps: head.keeps, echo: head.echo })
}

/// Nothing may follow the answer: only one request was sent.
fn body_of_length(bytes: Vec<u8>, length: usize) -> Result<Vec<u8>, Failed> {
    if bytes.len() > length {
        return Err(malformed("bytes follow the answer"));
    }
    Ok(bytes)
}

async fn chunked(
    stream: &mut (impl AsyncRead + Unpin),
    mut bytes: Vec<u8>,
) -> Result<Vec<u8>, Failed> {
    const LINE_END: usize = 2;
    let mut body = Vec::new();
    loop {
        match httparse::parse_chunk_size(&bytes).map_err(|_| malformed("no size of a chunk"))? {
            httparse::Status::Complete((start, size)) => {
                let size = usize::try_from(size).map_err(|_| malformed("a huge chunk"))?;
                // Trailers are not expected: the last chunk is followed by an empty line.
                while bytes.len() < start + size + LINE_END {
                    more(stream, &mut bytes, "in a chunk").await?;
                }
                if &bytes[start + size..start + size + LINE_END] != b"\r\n" {
                    return Err(malformed("a chunk that does not end where it should"));
                }
                body.extend_from_slice(&bytes[start..start + size]);
                bytes.drain(..start + size + LINE_END);
                if size == 0 {
                    return body_of_length(bytes, 0).map(|_| body);
                }
            }
            httparse::Status::Partial => more(stream, &mut bytes, "between chunks").await?,
        }
    }
}

/// The head, where `bytes` hold all of it.
fn head(bytes: &[u8]) -> Result<Option<Head>, Failed> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(malformed(&error.to_string())),
    };
    let status = response.code.ok_or_else(|| malformed("no status"))?;
    let value = |name: &str| {
        let header = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        header.map(|header| String::from_utf8_lossy(header.value).trim().to_ascii_lowercase())
    };
    let body = match (status, value("transfer-encoding"), value("content-length")) {
        (100..=199 | 204 | 304, _, _) => Body::Length(0),
        (_, Some(encoding), _) if encoding == "chunked" => Body::Chunked,
        (_, Some(encoding), _) => return Err(malformed(&format!("encoding {encoding}"))),
        (_, None, Some(length)) => {
            Body::Length(length.parse().map_err(|_| malformed(&format!("length {length}")))?)
        }
        (_, None, None) => Body::UntilEnd,
    };
    let connection = value("connection").unwrap_or_default();
    let closes = connection.split(',').any(|token| token.trim() == "close");
    let keeps = response.version == Some(1) && !closes && body != Body::UntilEnd;
    let echo = value("x-request-id");
    Ok(Some(Head { status, length, body, keeps, echo }))
}

async fn more(
    stream: &mut (impl AsyncRead + Unpin),
    bytes: &mut Vec<u8>,
    place: &str,
) -> Result<(), Failed> {
    match stream.read_buf(bytes).await {
        Ok(0) if bytes.is_empty() && place == HEAD => {
            Err(Failed::new(Failure::EndBefore, "the end came before an answer"))
        }
        Ok(0) => Err(Failed::new(Failure::EndWithin, format!("the end came {place}"))),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        Err(error) if bytes.is_empty() && place == HEAD => Err(Failed::io(error)),
        Err(error) => Err(Failed::io(error).within()),
    }
}

fn malformed(text: &str) -> Failed {
    Failed::malformed(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn of(text: &str) -> Result<Answer, Failed> {
        read(&mut text.as_bytes()).await
    }

    async fn failure(text: &str) -> Failure {
        of(text).await.expect_err("no answer").failure
    }

    #[tokio::test]
    async fn an_answer_ends_where_it_says() {
        let answer = of("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await.expect("whole");
        assert_eq!(
            (answer.status, answer.body.as_slice(), answer.keeps),
            (200, &b"hello"[..], true)
        );
        let chunks = "2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n";
        let text = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        let answer = of(&text).await.expect("whole");
        assert_eq!((answer.body.as_slice(), answer.keeps), (&b"hello"[..], true));
        let answer = of("HTTP/1.1 200 OK\r\n\r\nhello").await.expect("whole");
        assert_eq!((answer.body.as_slice(), answer.keeps), (&b"hello"[..], false));
        let answer = of("HTTP/1.1 204 No Content\r\n\r\n").await.expect("whole");
        assert_eq!((answer.body.as_slice(), answer.keeps), (&b""[..], true));
    }

    #[tokio::test]
    async fn the_word_close_is_found() {
        for connection in ["close", "Close", "keep-alive, close"] {
            let head = format!("HTTP/1.1 200 OK\r\nConnection: {connection}\r\n");
            let answer = of(&format!("{head}content-length: 0\r\n\r\n")).await.expect("whole");
            assert!(!answer.keeps, "{connection}");
        }
        let old = of("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n").await.expect("whole");
        assert!(!old.keeps);
    }

    #[tokio::test]
    async fn what_comes_before_the_answer_is_passed_over() {
        let hints = "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n";
        let answer = of(&format!("{hints}HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n")).await;
        assert_eq!(answer.expect("whole").status, 503);
    }

    #[tokio::test]
    async fn an_end_in_any_place_is_told_from_one_before() {
        assert_eq!(failure("").await, Failure::EndBefore);
        for text in [
            "HTTP/1.1 200",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhell",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        ] {
            assert_eq!(failure(text).await, Failure::EndWithin, "{text:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_http_is_malformed() {
        for text in [
            "SSH-2.0-OpenSSH\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: five\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\ntwo",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nxyz\r\n",
        ] {
            assert_eq!(failure(text).await, Failure::Malformed, "{text:?}");
        }
    }
}
