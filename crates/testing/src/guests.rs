//! `tests/guests/guests.toml`: how each guest is built, what it is called with, and what must come out wherever it runs.
//! In: the file; the output of a run. Out: the table; what is wrong with a run. Never here: a process.

use crate::http_client::{self, Response};
use crate::root;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// The version of the C compiler.
    pub zig: String,
    /// The version of upstream's `wasmtime` that the cases are checked against.
    pub wasmtime: String,
    /// The guests.
    #[serde(rename = "guest")]
    pub guests: Vec<Guest>,
}

/// A guest.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guest {
    /// Its file's stem.
    pub name: String,
    /// How it is called.
    pub kind: Kind,
    /// Its source, in the directory of the table.
    pub source: PathBuf,
    /// Whether the module is wrapped into a component.
    #[serde(default)]
    pub component: bool,
    /// The world of a component in C, a `.wit` file in the directory of the table: its bindings are generated.
    pub world: Option<PathBuf>,
    /// The CPU that the C compiler compiles for.
    pub cpu: Option<String>,
    /// More options of the C compiler.
    #[serde(default)]
    pub flags: Vec<String>,
    /// Whether function names are kept.
    #[serde(default)]
    pub names: bool,
    /// The WebAssembly proposals without which it is invalid.
    #[serde(default)]
    pub needs: Vec<String>,
    /// Calls of what is not a server.
    #[serde(default)]
    pub cases: Vec<Case>,
    /// Requests to a server.
    #[serde(default)]
    pub requests: Vec<Request>,
}

/// How a guest is called.
#[derive(Deserialize, PartialEq, Eq, Clone, Copy, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// As a WASI command.
    Command,
    /// By its exports.
    Library,
    /// By the exports of a component.
    Component,
    /// By HTTP requests: `wasi:http`'s `proxy` of 0.2 or `service` of 0.3.
    Http,
    /// As a WASI command, by tests that grant it something or bring what it connects to.
    Client,
}

/// A request to a server, and what it answers. A server's requests are sent one after the other.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// `GET`, unless it is another.
    #[serde(default = "get")]
    pub method: String,
    /// The path, with its query.
    pub path: String,
    /// Headers besides `Host`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body.
    #[serde(default)]
    pub body: String,
    /// The status of the response.
    #[serde(default = "ok")]
    pub status: u16,
    /// The response's body, unless the server makes it up.
    pub text: Option<String>,
    /// wasmtime's text for the trap in which the request ends.
    pub trap: Option<String>,
}

fn get() -> String {
    "GET".to_owned()
}

fn ok() -> u16 {
    200
}

/// A call, and what comes out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The export that is called.
    pub invoke: Option<String>,
    /// Arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// Standard input.
    #[serde(default)]
    pub stdin: String,
    /// The environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// A directory beside the table that the guest sees as its own.
    pub dir: Option<PathBuf>,
    /// Standard output.
    #[serde(default)]
    pub stdout: String,
    /// The exit code, as a shell shows it.
    #[serde(default)]
    pub exit: i32,
    /// wasmtime's text for the trap.
    pub trap: Option<String>,
    /// Functions of the backtrace, innermost first; others may lie between.
    #[serde(default)]
    pub frames: Vec<String>,
}

/// The directory of the table, the sources and the modules.
pub fn directory() -> PathBuf {
    root().join("tests/guests")
}

/// The table.
///
/// # Panics
/// When the file is not a table of guests, or names one twice.
pub fn table() -> Table {
    let path = directory().join("guests.toml");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let table: Table = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let names: BTreeSet<_> = table.guests.iter().map(|guest| &guest.name).collect();
    assert_eq!(names.len(), table.guests.len(), "{} names a guest twice", path.display());
    table
}

impl Request {
    /// The bytes that a client sends, for a connection that ends with the response.
    pub fn bytes(&self) -> Vec<u8> {
        let mut headers: Vec<_> = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        headers.push(("Connection", "close"));
        http_client::request(&self.method, &self.path, &headers, self.body.as_bytes())
    }

    /// What is wrong with a response, if anything.
    pub fn fault(&self, response: &Response) -> Option<String> {
        if response.status != self.status {
            return Some(format!("expected the status {}, found {}", self.status, response.status));
        }
        let text = self.text.as_ref().filter(|text| response.body != text.as_bytes())?;
        Some(format!("expected the body {text:?}, found {:?}", response.text()))
    }
}

impl Case {
    /// What is wrong with a run that printed `stdout` and `stderr` and ended with `exit`, if anything.
    pub fn fault(&self, stdout: &str, stderr: &str, exit: i32) -> Option<String> {
        if stdout != self.stdout {
            return Some(format!("expected to print {:?}", self.stdout));
        }
        if exit != self.exit {
            return Some(format!("expected the exit code {}", self.exit));
        }
        if let Some(trap) = self.trap.as_ref().filter(|trap| !stderr.contains(trap.as_str())) {
            return Some(format!("expected the trap `{trap}`"));
        }
        let mut rest = stderr;
        for frame in &self.frames {
            let Some((_, after)) = rest.split_once(&format!("!{frame}")) else {
                return Some(format!("expected the frame `{frame}`"));
            };
            rest = after;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_sources_that_exist() {
        let table = table();
        assert!(!table.guests.is_empty());
        for guest in &table.guests {
            assert!(directory().join(&guest.source).is_file(), "{}", guest.source.display());
            let (cases, requests) = (!guest.cases.is_empty(), !guest.requests.is_empty());
            // Servers and clients may be called by tests of their own alone.
            let fits = match guest.kind {
                Kind::Http => !cases,
                Kind::Client => !cases && !requests,
                Kind::Command | Kind::Library | Kind::Component => cases && !requests,
            };
            assert!(fits, "{}", guest.name);
        }
    }

    #[test]
    fn each_part_of_a_run_is_compared() {
        let case: Case =
            toml::from_str("stdout = 'out'\nexit = 134\ntrap = 'unreachable'\nframes = ['inner', 'outer']").unwrap();
        let trapped = "wasm trap: unreachable\n 0: m!inner\n 1: m!between\n 2: m!outer";
        assert_eq!(case.fault("out", trapped, 134), None);
        for (stdout, stderr, exit, expected) in [
            ("other", trapped, 134, "expected to print \"out\""),
            ("out", trapped, 0, "expected the exit code 134"),
            ("out", "m!inner m!outer", 134, "expected the trap `unreachable`"),
            ("out", "unreachable m!inner", 134, "expected the frame `outer`"),
            // In another order than the stack has.
            ("out", "unreachable m!outer m!inner", 134, "expected the frame `outer`"),
        ] {
            assert_eq!(case.fault(stdout, stderr, exit).as_deref(), Some(expected));
        }
    }
}
