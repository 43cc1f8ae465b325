//! HTTP/1.1 as far as the WASI suite needs it: servers that programs send requests to, and requests to programs that
//! serve. One request a connection. Never here: what a program must answer.

use super::{Endpoint, Mode, Server};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// What one side may be silent for.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// A request or response: its first line, its headers with names in lower case, its body.
#[derive(Debug, Default)]
pub(super) struct Message {
    pub(super) first: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Vec<(String, String)>,
}

impl Message {
    /// The first header with that name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// Reads one. Without a length, a response's body ends with the connection.
    fn read(from: &mut impl BufRead, is_response: bool) -> Result<Message> {
        let mut message = Message { first: line(from)?, ..Message::default() };
        message.headers = fields(from)?;
        if message.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            loop {
                let size = line(from)?;
                let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)?;
                if size == 0 {
                    break;
                }
                let start = message.body.len();
                message.body.resize(start + size, 0);
                from.read_exact(&mut message.body[start..])?;
                line(from)?;
            }
            message.trailers = fields(from)?;
        } else if let Some(length) = message.header("content-length") {
            message.body = vec![0; length.parse()?];
            from.read_exact(&mut message.body)?;
        } else if is_response {
            from.read_to_end(&mut message.body)?;
        }
        Ok(message)
    }
}

fn line(from: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        bail!("the connection ended");
    }
    Ok(line.trim_end().to_owned())
}

fn fields(from: &mut impl BufRead) -> Result<Vec<(String, String)>> {
    let mut fields = Vec::new();
    loop {
        let line = line(from)?;
        if line.is_empty() {
            return Ok(fields);
        }
        let (name, value) = line.split_once(':').with_context(|| format!("expected a field, found {line:?}"))?;
        fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
}

/// Sends a request to `address`; the response.
pub(super) fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &BTreeMap<String, String>,
    body: &str,
) -> Result<Message> {
    let mut connection = TcpStream::connect_timeout(&address, SILENCE_MAX)?;
    connection.set_read_timeout(Some(SILENCE_MAX))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    head.extend(headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")));
    head += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
    connection.write_all(head.as_bytes())?;
    Message::read(&mut BufReader::new(connection), method != "HEAD")
}

/// A server that runs until it is dropped.
pub(super) struct Serving {
    pub(super) address: SocketAddr,
    ended: Arc<AtomicBool>,
}

impl Serving {
    /// Starts a server. One that is closed has an address on which no process listens.
    pub(super) fn start(server: &Server) -> Result<Serving> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let serving = Serving { address: listener.local_addr()?, ended: Arc::default() };
        if server.kind.as_deref() == Some("closed") {
            return Ok(serving);
        }
        let (endpoints, ended) = (server.endpoints.clone(), serving.ended.clone());
        thread::spawn(move || {
            for connection in listener.incoming() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                // A client that goes away in the middle has what it wanted.
                let _ = connection.map_err(Into::into).and_then(|connection| serve(connection, &endpoints));
            }
        });
        Ok(serving)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect_timeout(&self.address, SILENCE_MAX);
    }
}

fn serve(mut connection: TcpStream, endpoints: &[Endpoint]) -> Result<()> {
    connection.set_read_timeout(Some(SILENCE_MAX))?;
    let request = Message::read(&mut BufReader::new(connection.try_clone()?), false)?;
    let mut words = request.first.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let endpoint = endpoints.iter().find(|endpoint| endpoint.method == method && endpoint.path == path);
    let mut head = String::new();
    let mut add = |name: &str, value: &str| head += &format!("{name}: {value}\r\n");
    add("Connection", "close");
    let sized = |body: &[u8]| ("Content-Length", body.len().to_string());
    let (status, (name, value), body) = match endpoint {
        None => (404, sized(b""), Vec::new()),
        Some(Endpoint { mode: Some(Mode::EchoBody), .. }) => (200, sized(&request.body), request.body),
        Some(Endpoint { mode: Some(Mode::EchoHeaders), .. }) => {
            add("x-request-method", method);
            add("x-request-path", path);
            request.headers.iter().for_each(|(name, value)| add(&format!("x-echo-{name}"), value));
            request.trailers.iter().for_each(|(name, value)| add(&format!("x-trailer-{name}"), value));
            (200, sized(b""), Vec::new())
        }
        Some(Endpoint { response, .. }) => {
            response.headers.iter().for_each(|(name, value)| add(name, value));
            match &response.chunks {
                None => (response.status, sized(response.body.as_bytes()), response.body.clone().into_bytes()),
                Some(chunks) => {
                    let names: Vec<_> = response.trailers.keys().map(String::as_str).collect();
                    if !names.is_empty() {
                        add("Trailer", &names.join(", "));
                    }
                    let chunks = chunks.iter().map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len()));
                    let trailers = response.trailers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
                    let body: String = chunks.chain(["0\r\n".to_owned()]).chain(trailers).collect();
                    (response.status, ("Transfer-Encoding", "chunked".to_owned()), (body + "\r\n").into_bytes())
                }
            }
        }
    };
    add(name, &value);
    connection.write_all(format!("HTTP/1.1 {status} status\r\n{head}\r\n").as_bytes())?;
    if method != "HEAD" {
        connection.write_all(&body)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(text: &str) -> Serving {
        Serving::start(&serde_json::from_str(text).unwrap()).unwrap()
    }

    #[test]
    fn endpoints_answer_as_they_are_described() {
        let serving = server(
            r#"{ "name": "main", "endpoints": [
                { "path": "/made", "response": { "status": 201, "body": "made", "headers": { "x-a": "b" } } },
                { "path": "/chunks", "response": { "chunks": ["one", "two"], "trailers": { "x-sum": "2" } } },
                { "method": "POST", "path": "/body", "mode": "echo-body" },
                { "method": "PUT", "path": "/headers?a=1", "mode": "echo-headers" } ] }"#,
        );
        let headers = [("x-mine".to_owned(), "1".to_owned())].into();
        let ask = |method, path, body| request(serving.address, method, path, &headers, body).unwrap();
        let made = ask("GET", "/made", "");
        assert!(made.first.starts_with("HTTP/1.1 201") && made.body == b"made" && made.header("x-a") == Some("b"));
        let chunks = ask("GET", "/chunks", "");
        assert_eq!((&*chunks.body, &*chunks.trailers), (&b"onetwo"[..], &[("x-sum".to_owned(), "2".to_owned())][..]));
        assert_eq!(ask("POST", "/body", "hello").body, b"hello");
        assert_eq!(ask("PUT", "/headers?a=1", "").header("x-echo-x-mine"), Some("1"));
        assert!(ask("GET", "/body", "").first.contains("404"), "the method is another");
        assert!(ask("HEAD", "/made", "").body.is_empty());
    }

    #[test]
    fn a_closed_server_refuses_connections() {
        let serving = server(r#"{ "name": "dead", "kind": "closed" }"#);
        assert!(TcpStream::connect(serving.address).is_err());
    }
}
