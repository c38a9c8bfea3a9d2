//! An HTTP connection that is kept and used again, and whose bytes are the caller's: for load, and for what no client would send.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::topology::Namespace;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(20);

/// A connection.
#[derive(Debug)]
pub struct Http {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    pub body: String,
}

impl Page {
    /// The value of the header `name`, which is in small letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The one reply of a list, or the map.
    ///
    /// # Errors
    /// When it is neither.
    pub fn reply(&self) -> Result<Value> {
        let body: Value = serde_json::from_str(&self.body)
            .with_context(|| format!("status {}, body {:.200}", self.status, self.body))?;
        match body {
            Value::Array(mut list) if list.len() == 1 => Ok(list.remove(0)),
            Value::Object(_) => Ok(body),
            _ => bail!("neither a map nor a list of one: {:.200}", self.body),
        }
    }
}

impl Http {
    /// Connects from inside `namespace`.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn connect(namespace: &Namespace, address: SocketAddr) -> Result<Http> {
        namespace.inside(|| Http::open(address))?
    }

    /// Connects from the namespace of the calling thread.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn open(address: SocketAddr) -> Result<Http> {
        Http::open_within(address, LIMIT)
    }

    /// The same, if neither that nor an answer may take longer than `limit`. Nothing has been sent when it fails.
    ///
    /// # Errors
    /// As [`Http::open`].
    pub fn open_within(address: SocketAddr, limit: Duration) -> Result<Http> {
        let stream = TcpStream::connect_timeout(&address, limit).context("connecting")?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        stream.set_nodelay(true)?;
        Ok(Http { stream, buffer: Vec::new() })
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// As the socket.
    pub fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends `body` as a command and reads the answer.
    ///
    /// # Errors
    /// When there is none.
    pub fn post(&mut self, body: &str) -> Result<Page> {
        let mut request = format!(
            "POST / HTTP/1.1\r\nHost: node\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        request.push_str(body);
        self.send(request.as_bytes())?;
        self.answer()
    }

    /// Sends a command with its arguments as text and gives its reply.
    ///
    /// # Errors
    /// When there is none.
    pub fn command(&mut self, name: &str, arguments: &str) -> Result<Value> {
        self.post(&format!("{{\"command\":\"{name}\",\"arguments\":{arguments}}}"))?.reply()
    }

    /// Reads one answer.
    ///
    /// # Errors
    /// When the connection ends before it does.
    pub fn answer(&mut self) -> Result<Page> {
        let head_end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            self.more()?;
        };
        let head = String::from_utf8_lossy(&self.buffer[..head_end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
        let mut page = Page { status: status.context("no status")?, head, body: String::new() };
        let len: usize =
            page.header("content-length").and_then(|len| len.parse().ok()).context("no length")?;
        while self.buffer.len() < head_end + len {
            self.more()?;
        }
        page.body = String::from_utf8_lossy(&self.buffer[head_end..head_end + len]).into_owned();
        self.buffer.drain(..head_end + len);
        Ok(page)
    }

    /// Whether the other end has closed the connection.
    pub fn is_closed(&mut self) -> bool {
        let _ = self.stream.set_nonblocking(true);
        let mut byte = [0];
        let closed = match self.stream.read(&mut byte) {
            Ok(0) => true,
            Ok(_) => false,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        };
        let _ = self.stream.set_nonblocking(false);
        closed
    }

    fn more(&mut self) -> Result<()> {
        let mut chunk = [0; 64 << 10];
        match self.stream.read(&mut chunk).context("reading an answer")? {
            0 => bail!("the connection ended after {} bytes of an answer", self.buffer.len()),
            read => self.buffer.extend_from_slice(&chunk[..read]),
        }
        Ok(())
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
