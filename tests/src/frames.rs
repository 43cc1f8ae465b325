//! HTTP/2 as a test wants to speak it: frame by frame, also wrong. In: frames. Out: frames. Never here: a state machine
//! that would keep a test from breaking rules.

use isomer_testing::http_client::Connection;
use std::io;
use std::net::{SocketAddr, TcpStream};

/// What begins each connection of a client.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Kinds of frames, RFC 9113 section 6.
pub mod kind {
    #![allow(missing_docs)]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// The stream ends with this frame; of SETTINGS and PING, it is an acknowledgement.
pub const END_STREAM: u8 = 1;
/// The head ends with this frame.
pub const END_HEADERS: u8 = 4;

/// A frame.
#[derive(Clone, Debug)]
pub struct Frame {
    /// One of [`kind`].
    pub kind: u8,
    /// Flags.
    pub flags: u8,
    /// The stream, 0 for the connection.
    pub stream: u32,
    /// The rest.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The bytes of a frame.
    pub fn encode(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("it is a short frame").to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }
}

/// The head of a request, in HPACK without compression. `more` are further fields.
pub fn head(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    // Names of the static table: 1 is `:authority`, 2 `:method`, 4 `:path`; 0x86 is `:scheme: http` as a whole.
    let mut block = vec![0x86];
    for (index, value) in [(2, method), (4, path), (1, "localhost")] {
        block.push(index);
        text(&mut block, value);
    }
    for (name, value) in more {
        block.push(0);
        text(&mut block, name);
        text(&mut block, value);
    }
    block
}

fn text(block: &mut Vec<u8>, value: &str) {
    let mut left = value.len();
    // An integer with a prefix of seven bits.
    if left < 0x7f {
        block.push(u8::try_from(left).expect("it is small"));
    } else {
        block.push(0x7f);
        left -= 0x7f;
        while left >= 0x80 {
            block.push((left % 0x80) as u8 | 0x80);
            left /= 0x80;
        }
        block.push(left as u8);
    }
    block.extend(value.as_bytes());
}

/// A connection over which both prefaces have been sent.
pub struct Http2 {
    connection: Connection,
}

impl Http2 {
    /// Connects; `settings` are pairs of an identifier and a value.
    ///
    /// # Errors
    /// Those of the system.
    pub fn open(address: SocketAddr, settings: &[(u16, u32)]) -> io::Result<Http2> {
        let mut connection = Connection::open(address)?;
        let payload: Vec<u8> =
            settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
        connection.send([PREFACE, &Frame::encode(kind::SETTINGS, 0, 0, &payload)].concat())?;
        Ok(Http2 { connection })
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// Those of the system.
    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        self.connection.send(Frame::encode(kind, flags, stream, payload))
    }

    /// Sends bytes that need not be a frame.
    ///
    /// # Errors
    /// Those of the system.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.connection.send(bytes)
    }

    /// The socket.
    pub fn socket(&self) -> &TcpStream {
        self.connection.socket()
    }

    /// Sends a request without a body.
    ///
    /// # Errors
    /// Those of the system.
    pub fn get(&mut self, stream: u32, path: &str) -> io::Result<()> {
        self.send(kind::HEADERS, END_HEADERS | END_STREAM, stream, &head("GET", path, &[]))
    }

    /// Receives a frame.
    ///
    /// # Errors
    /// Those of the system; `UnexpectedEof` at the end.
    pub fn receive(&mut self) -> io::Result<Frame> {
        let head = self.connection.bytes(9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        let payload = self.connection.bytes(length as usize)?;
        Ok(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// Receives frames until one satisfies `wanted`.
    ///
    /// # Errors
    /// As [`Http2::receive`].
    pub fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> io::Result<Frame> {
        loop {
            let frame = self.receive()?;
            if wanted(&frame) {
                return Ok(frame);
            }
        }
    }

    /// Receives frames until the connection ends; the code of the GOAWAY that it was ended with, if there was one.
    ///
    /// # Errors
    /// Those of the system but a reset.
    pub fn goaway(&mut self) -> io::Result<Option<u32>> {
        let mut code = None;
        loop {
            match self.receive() {
                Ok(frame) if frame.kind == kind::GOAWAY => {
                    code = frame.payload.get(4..8).map(|code| u32::from_be_bytes(code.try_into().expect("four bytes")));
                }
                Ok(_) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => {
                    return Ok(code);
                }
                Err(error) => return Err(error),
            }
        }
    }
}
