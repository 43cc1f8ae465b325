//! A proxy in front of a real registry that counts, and that fails on demand. In: requests. Out: the registry's answers,
//! or what a broken or hostile one would send instead, and a record of all. Never here: a registry of its own.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// One request that came, and how much of its answer went back.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// `GET`
    pub method: String,
    /// With its query.
    pub path: String,
    /// The `Range` that was requested.
    pub range: Option<String>,
    /// The `Authorization` that was shown.
    pub authorization: Option<String>,
    /// How many bytes of the answer's body went back.
    pub body_bytes: Arc<AtomicU64>,
    /// How many requests with this method and path came before.
    pub before: usize,
}

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The registry answers it.
    None,
    /// This is the answer: the status line's end, headers and body.
    Answer(String),
    /// The answer's body ends after so many bytes.
    CutAnswer(usize),
    /// The request's body is read up to there, and the connection closed.
    CutRequest(usize),
    /// One byte of the answer's body is another.
    OtherByte(usize),
    /// The registry never hears of the `Range`.
    NoRange,
    /// A body without an end.
    Endless,
    /// No answer for so long.
    Silence(Duration),
    /// The answer's body comes a byte at a time, with this pause before each.
    Drip(Duration),
}

impl Fault {
    /// An answer with a status, `503 Service Unavailable`, and nothing else.
    pub fn status(status: &str) -> Fault {
        Fault::Answer(format!("{status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
    }
}

type Decide = dyn Fn(&Seen) -> Fault + Send + Sync;

/// A proxy that runs.
pub struct Proxy {
    host: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    decide: Arc<Mutex<Box<Decide>>>,
    stopped: Arc<AtomicBool>,
}

impl Proxy {
    /// Starts one in front of `registry`, an address with a port, that breaks nothing yet.
    pub fn start(registry: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy {
            host: listener.local_addr().unwrap().to_string(),
            seen: Arc::default(),
            decide: Arc::new(Mutex::new(Box::new(|_| Fault::None))),
            stopped: Arc::default(),
        };
        let (seen, decide, stopped) = (proxy.seen.clone(), proxy.decide.clone(), proxy.stopped.clone());
        let registry = registry.to_owned();
        thread::spawn(move || {
            for client in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let (seen, decide, registry) = (seen.clone(), decide.clone(), registry.clone());
                // A connection that breaks off is what this is for.
                thread::spawn(move || client.and_then(|client| serve(client, &registry, &seen, &decide)));
            }
        });
        proxy
    }

    /// Its address and port, as in a reference.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// From now on, `decide` says what becomes of each request, and the record begins anew.
    pub fn fail(&self, decide: impl Fn(&Seen) -> Fault + Send + Sync + 'static) {
        *self.decide.lock().unwrap() = Box::new(decide);
        self.seen.lock().unwrap().clear();
    }

    /// What came so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The methods and paths of what came so far, in that order.
    pub fn lines(&self) -> Vec<String> {
        self.seen().iter().map(|it| format!("{} {}", it.method, it.path)).collect()
    }

    /// How many bytes went back in bodies.
    pub fn body_bytes(&self) -> u64 {
        self.seen().iter().map(|it| it.body_bytes.load(Ordering::Relaxed)).sum()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // So that it looks.
        let _ = TcpStream::connect(&self.host);
    }
}

/// One request, one connection: what comes after would only make counting harder.
fn serve(client: TcpStream, registry: &str, all: &Mutex<Vec<Seen>>, decide: &Mutex<Box<Decide>>) -> io::Result<()> {
    let mut from_client = BufReader::new(client.try_clone()?);
    let mut head = read_head(&mut from_client)?;
    let Some(first) = head.first() else { return Ok(()) };
    let mut words = first.split(' ').map(str::to_owned);
    let mut seen = Seen {
        method: words.next().unwrap_or_default(),
        path: words.next().unwrap_or_default(),
        range: header(&head, "range"),
        authorization: header(&head, "authorization"),
        ..Seen::default()
    };
    {
        let mut all = all.lock().unwrap();
        let same = |it: &&Seen| (&it.method, &it.path) == (&seen.method, &seen.path);
        seen.before = all.iter().filter(same).count();
        all.push(seen.clone());
    }
    let fault = decide.lock().unwrap()(&seen);
    let length: u64 = header(&head, "content-length").and_then(|it| it.parse().ok()).unwrap_or(0);
    let mut body = from_client.take(length);
    match fault {
        Fault::Answer(answer) => {
            io::copy(&mut body, &mut io::sink())?;
            write!(&client, "HTTP/1.1 {answer}")?;
            return client.shutdown(Shutdown::Write);
        }
        Fault::CutRequest(at) => {
            io::copy(&mut body.take(at as u64), &mut io::sink())?;
            return client.shutdown(Shutdown::Both);
        }
        Fault::Silence(time) => {
            thread::sleep(time);
            return Ok(());
        }
        Fault::Endless => {
            write!(&client, "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n")?;
            loop {
                (&client).write_all(&[b' '; 4096])?;
                seen.body_bytes.fetch_add(4096, Ordering::Relaxed);
            }
        }
        Fault::NoRange => head.retain(|line| !line.to_ascii_lowercase().starts_with("range:")),
        Fault::None | Fault::CutAnswer(_) | Fault::OtherByte(_) | Fault::Drip(_) => {}
    }
    let upstream = TcpStream::connect(registry)?;
    head.push("Connection: close".to_owned());
    (&upstream).write_all(format!("{}\r\n\r\n", head.join("\r\n")).as_bytes())?;
    io::copy(&mut body, &mut &upstream)?;
    let mut from_registry = BufReader::new(upstream);
    let answer = read_head(&mut from_registry)?;
    (&client).write_all(format!("{}\r\n\r\n", answer.join("\r\n")).as_bytes())?;
    relay(&mut from_registry, &client, &fault, &seen.body_bytes)?;
    client.shutdown(Shutdown::Both)
}

fn relay(from: &mut impl Read, client: &TcpStream, fault: &Fault, sent_bytes: &AtomicU64) -> io::Result<()> {
    let mut left = if let Fault::CutAnswer(at) = fault { *at } else { usize::MAX };
    let (mut buffer, mut at) = ([0; 16 << 10], 0);
    while left > 0 {
        let mut wanted = left.min(buffer.len());
        if let Fault::Drip(pause) = fault {
            thread::sleep(*pause);
            wanted = 1;
        }
        let read = from.read(&mut buffer[..wanted])?;
        if read == 0 {
            break;
        }
        if let Fault::OtherByte(wrong) = fault
            && (at..at + read).contains(wrong)
        {
            buffer[wrong - at] ^= 1;
        }
        let mut client = client;
        // Before the client has them: it may end, and a test ask, before this thread goes on.
        sent_bytes.fetch_add(read as u64, Ordering::Relaxed);
        client.write_all(&buffer[..read])?;
        (left, at) = (left - read, at + read);
    }
    Ok(())
}

/// The lines up to the empty one.
fn read_head(from: &mut impl BufRead) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 || line.trim_end().is_empty() {
            return Ok(lines);
        }
        lines.push(line.trim_end().to_owned());
    }
}

fn header(head: &[String], name: &str) -> Option<String> {
    let found = head.iter().skip(1).filter_map(|line| line.split_once(':'));
    found.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = &[b'x'; 40_000];

    /// A server that answers every request with [`BODY`].
    fn server() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let mut from_client = BufReader::new(client.try_clone().unwrap());
                let _ = read_head(&mut from_client);
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", BODY.len());
                let _ = (&client).write_all(head.as_bytes()).and_then(|()| (&client).write_all(BODY));
            }
        });
        host
    }

    /// The status line and the body that answer a request.
    fn get(proxy: &Proxy, path: &str) -> (String, Vec<u8>) {
        let client = TcpStream::connect(proxy.host()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nRange: bytes=1-\r\nAuthorization: me\r\n\r\n");
        (&client).write_all(request.as_bytes()).unwrap();
        let mut from_proxy = BufReader::new(client);
        let head = read_head(&mut from_proxy).unwrap_or_default();
        let mut body = Vec::new();
        // Where an answer is cut, the connection may be reset.
        let _ = from_proxy.read_to_end(&mut body);
        (head.first().cloned().unwrap_or_default(), body)
    }

    #[test]
    fn without_a_fault_it_passes_and_counts() {
        let proxy = Proxy::start(&server());
        for _ in 0..2 {
            assert_eq!(get(&proxy, "/a"), ("HTTP/1.1 200 OK".to_owned(), BODY.to_vec()));
        }
        // At once: what a client has, is counted.
        assert_eq!(proxy.body_bytes(), 2 * BODY.len() as u64);
        assert_eq!(proxy.lines(), ["GET /a", "GET /a"]);
        let seen = proxy.seen();
        assert_eq!((seen[0].before, seen[1].before), (0, 1));
        assert_eq!((seen[0].range.as_deref(), seen[0].authorization.as_deref()), (Some("bytes=1-"), Some("me")));
    }

    #[test]
    fn faults_change_what_they_say() {
        let proxy = Proxy::start(&server());
        proxy.fail(|seen| match seen.path.as_str() {
            "/cut" => Fault::CutAnswer(20_000),
            "/wrong" => Fault::OtherByte(20_000),
            "/busy" => Fault::status("503 Service Unavailable"),
            "/gone" => Fault::CutRequest(0),
            _ => Fault::None,
        });
        assert_eq!(get(&proxy, "/cut").1, &BODY[..20_000]);
        assert_eq!(proxy.body_bytes(), 20_000);
        let (_, wrong) = get(&proxy, "/wrong");
        let differing: Vec<_> =
            wrong.iter().zip(BODY).enumerate().filter(|(_, (a, b))| a != b).map(|(at, _)| at).collect();
        assert_eq!((wrong.len(), differing), (BODY.len(), vec![20_000]));
        assert_eq!(get(&proxy, "/busy"), ("HTTP/1.1 503 Service Unavailable".to_owned(), Vec::new()));
        assert_eq!(get(&proxy, "/gone"), (String::new(), Vec::new()));
        assert_eq!(get(&proxy, "/else").1, BODY);
        // The record begins anew with the next rule.
        proxy.fail(|_| Fault::None);
        assert_eq!((proxy.seen().len(), proxy.body_bytes()), (0, 0));
    }
}
