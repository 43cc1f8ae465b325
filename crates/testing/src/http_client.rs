//! HTTP/1.1 as a test wants to speak it: byte for byte, also wrong. In: bytes of requests. Out: responses, and whether
//! each came to its proper end. Never here: a repair of what a test sends, or a second attempt.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a read may take before it fails: longer than any limit that a test sets.
const PATIENCE: Duration = Duration::from_secs(60);

/// A response.
#[derive(Clone, Debug)]
pub struct Response {
    /// `200`
    pub status: u16,
    /// Names in lower case, in the order in which they came.
    pub headers: Vec<(String, String)>,
    /// As much as came.
    pub body: Vec<u8>,
    /// Whether the body ended as its framing says. A cut connection leaves it incomplete.
    pub complete: bool,
}

impl Response {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection.
pub struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Those of the system.
    pub fn open(address: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Connection { reader: BufReader::new(stream) })
    }

    /// The socket.
    pub fn socket(&self) -> &TcpStream {
        self.reader.get_ref()
    }

    /// Sends these bytes.
    ///
    /// # Errors
    /// Those of the system.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes.as_ref())
    }

    /// Receives the response of a request other than HEAD.
    ///
    /// # Errors
    /// `UnexpectedEof` where the connection ends before the head does; `InvalidData` where it is not a response; those
    /// of the system within the head.
    pub fn receive(&mut self) -> io::Result<Response> {
        let mut response = self.head()?;
        let length = response.header("content-length").and_then(|length| length.parse::<u64>().ok());
        let chunked = response.header("transfer-encoding").is_some_and(|coding| coding.contains("chunked"));
        if matches!(response.status, 100..=199 | 204 | 304) {
            response.complete = true;
        } else if chunked {
            response.complete = self.chunks(&mut response.body).is_ok();
        } else if let Some(length) = length {
            let read = self.reader.by_ref().take(length).read_to_end(&mut response.body);
            response.complete = read.is_ok() && response.body.len() as u64 == length;
        } else {
            response.complete = self.reader.read_to_end(&mut response.body).is_ok();
        }
        Ok(response)
    }

    /// Receives a head alone, with an empty body.
    ///
    /// # Errors
    /// As [`Connection::receive`].
    pub fn head(&mut self) -> io::Result<Response> {
        let line = self.line()?;
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, format!("not a status line: {line:?}"));
        let rest = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 ")).ok_or_else(invalid)?;
        let status = rest.get(..3).and_then(|status| status.parse().ok()).ok_or_else(invalid)?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(Response { status, headers, body: Vec::new(), complete: false });
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            headers.push((name.to_lowercase(), value.trim().to_owned()));
        }
    }

    /// Receives exactly so many bytes, whatever they are.
    ///
    /// # Errors
    /// `UnexpectedEof` where there are fewer; those of the system.
    pub fn bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.reader.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Waits until the other end closes, and gives what came before.
    ///
    /// # Errors
    /// Those of the system; a connection that is reset has ended, too.
    pub fn until_closed(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        match self.reader.read_to_end(&mut rest) {
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => Err(error),
            _ => Ok(rest),
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.pop_if(|byte| *byte == b'\r');
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    fn chunks(&mut self, body: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let size = self.line()?;
            let size = size.split(';').next().unwrap_or_default().trim();
            let size =
                u64::from_str_radix(size, 16).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if size == 0 {
                // Trailers.
                while !self.line()?.is_empty() {}
                return Ok(());
            }
            if self.reader.by_ref().take(size).read_to_end(body)? as u64 != size {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.line()?;
        }
    }
}

/// A request with these headers besides `Host`, and a body whose length it declares where there is one.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() {
        text += &format!("Content-Length: {}\r\n", body.len());
    }
    text += "\r\n";
    [text.as_bytes(), body].concat()
}

/// One request on a connection of its own.
///
/// # Errors
/// As [`Connection::receive`].
pub fn get(address: SocketAddr, path: &str) -> io::Result<Response> {
    let mut connection = Connection::open(address)?;
    connection.send(request("GET", path, &[("Connection", "close")], b""))?;
    connection.receive()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    /// A connection on which a server has sent `bytes` and hung up.
    fn after(bytes: &'static [u8]) -> Connection {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || listener.accept().unwrap().0.write_all(bytes).unwrap());
        Connection::open(address).unwrap()
    }

    #[test]
    fn a_response_that_is_cut_is_incomplete() {
        for (bytes, body, complete) in [
            (&b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"[..], "hello", true),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", "hel", false),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", "hello", true),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n", "he", false),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nl", "hel", false),
            (b"HTTP/1.1 204 No Content\r\n\r\n", "", true),
        ] {
            let response = after(bytes).receive().unwrap();
            assert_eq!((response.text().as_str(), response.complete), (body, complete));
        }
        let error = after(b"HTTP/1.1 200 OK\r\nContent-Le").receive().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        let error = after(b"SSH-2.0\r\n").receive().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn responses_follow_each_other() {
        let mut connection =
            after(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b\r\n\r\nokHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        let first = connection.receive().unwrap();
        assert_eq!((first.status, first.header("x-a"), first.text().as_str()), (200, Some("b"), "ok"));
        assert_eq!(connection.receive().unwrap().status, 404);
        assert!(connection.until_closed().unwrap().is_empty());
    }
}
