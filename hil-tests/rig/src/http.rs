//! A small HTTP/1.1 client over TCP or a Unix socket: one request, one connection.
//!
//! Purpose: tills and operators of the rig. It shares no code with the servers it speaks to. It says exactly what an
//! impatient till must know about a failure: whether the request may have arrived ([`HttpError::may_have_arrived`]).
//!
//! Contract: bounded answer size and time; no redirects, no TLS, no connection reuse.

use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// Largest answer taken.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Where the server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// 127.0.0.1 and a port.
    Loopback(u16),
    /// A Unix socket.
    Socket(PathBuf),
}

/// What to ask.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// `GET` or `POST`.
    pub method: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// Further headers.
    pub headers: &'a [(&'a str, &'a str)],
    /// JSON body.
    pub body: Option<&'a Value>,
    /// Time for the whole exchange.
    pub limit: Duration,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; `null` when it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The body as text for a message.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Nobody listens: the request was not sent.
    #[error("cannot connect")]
    Connect(#[source] std::io::Error),
    /// The connection broke: the request may have arrived.
    #[error("the connection broke")]
    Broken(#[source] std::io::Error),
    /// No complete answer in time: the request may have arrived.
    #[error("no answer in {0:?}")]
    Timeout(Duration),
    /// The answer is not HTTP, or was cut short: the request may have arrived.
    #[error("malformed answer: {0}")]
    Malformed(String),
}

impl HttpError {
    /// Whether the server may have acted on the request.
    pub fn may_have_arrived(&self) -> bool {
        !matches!(self, Self::Connect(_))
    }
}

/// GET with a limit of 10 s.
pub async fn get(server: &Server, path: &str) -> Result<Answer, HttpError> {
    let limit = Duration::from_secs(10);
    send(server, &Request { method: "GET", path, headers: &[], body: None, limit }).await
}

/// POST of a JSON body with a limit of 10 s.
pub async fn post(server: &Server, path: &str, body: &Value) -> Result<Answer, HttpError> {
    let limit = Duration::from_secs(10);
    send(server, &Request { method: "POST", path, headers: &[], body: Some(body), limit }).await
}

/// Sends one request and takes one answer.
pub async fn send(server: &Server, request: &Request<'_>) -> Result<Answer, HttpError> {
    let exchange = async {
        match server {
            Server::Loopback(port) => {
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
                exchange(TcpStream::connect(address).await.map_err(HttpError::Connect)?, request).await
            }
            Server::Socket(path) => {
                exchange(UnixStream::connect(path).await.map_err(HttpError::Connect)?, request).await
            }
        }
    };
    tokio::time::timeout(request.limit, exchange).await.unwrap_or(Err(HttpError::Timeout(request.limit)))
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    request: &Request<'_>,
) -> Result<Answer, HttpError> {
    let body = request.body.map(|body| body.to_string()).unwrap_or_default();
    let mut text =
        format!("{} {} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n", request.method, request.path);
    for (name, value) in request.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if request.body.is_some() {
        text.push_str(&format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    text.push_str(&body);
    stream.write_all(text.as_bytes()).await.map_err(HttpError::Broken)?;
    let mut raw = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut raw).await.map_err(HttpError::Broken)?;
    parse(&raw)
}

/// Reads a whole answer: status line, headers, body by length, by chunks, or to the end.
fn parse(raw: &[u8]) -> Result<Answer, HttpError> {
    let malformed = |what: &str| HttpError::Malformed(what.into());
    let split =
        raw.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(|| malformed("no end of headers"))?;
    let (head, body) = raw.split_at(split + 4);
    let head = std::str::from_utf8(head).map_err(|_| malformed("headers are not text"))?;
    let mut lines = head.lines();
    let status = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1.1 "))
        .and_then(|line| line.split(' ').next())
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| malformed("no status line"))?;
    let header = |name: &str| {
        head.lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    };
    let body = if header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        dechunk(body).ok_or_else(|| malformed("chunks cut short"))?
    } else if let Some(length) = header("content-length") {
        let length = length.parse().map_err(|_| malformed("content-length is not a number"))?;
        body.get(..length).ok_or_else(|| malformed("body cut short"))?.to_vec()
    } else {
        body.to_vec()
    };
    Ok(Answer { status, body })
}

fn dechunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(rest.get(..end)?).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        let start = end + 2;
        if size == 0 {
            return Some(out);
        }
        out.extend_from_slice(rest.get(start..start + size)?);
        rest = rest.get(start + size + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_by_length_by_chunks_and_to_the_end() {
        let by_length = parse(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}").unwrap();
        assert_eq!((by_length.status, by_length.body.as_slice()), (201, b"{}".as_slice()));
        let chunked =
            parse(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
                .unwrap();
        assert_eq!(chunked.body, b"abcde");
        assert_eq!(parse(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap().body, b"");
    }

    #[test]
    fn an_answer_cut_short_is_not_an_answer() {
        let whole = b"HTTP/1.1 201 Created\r\ncontent-length: 11\r\n\r\n{\"id\":\"1\"} ";
        assert!(parse(whole).is_ok());
        for end in 0..whole.len() {
            assert!(parse(&whole[..end]).is_err(), "{end} bytes were taken as an answer");
        }
    }

    #[tokio::test]
    async fn nobody_listening_means_not_arrived() {
        let port = crate::ports::reserve().unwrap();
        let error = get(&Server::Loopback(port), "/").await.unwrap_err();
        assert!(!error.may_have_arrived(), "{error}");
    }
}
