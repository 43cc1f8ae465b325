//! Programs of the WASI test suite. In: its directories, each with a manifest, programs, and beside a program what to do
//! with it. Out: what passes for each profile: compiled, written, loaded and run by `isomer-run`.

use crate::artifacts::{self, Artifacts, Made};
use crate::conform::Counts;
use crate::profiles::Profile;
use crate::skips::Skips;
use abilities::Abilities;
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

mod abilities;
mod http;
mod operate;
mod stream;

/// A program, and what is done with it.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its suite's directory and its own name: `rust/wasm32-wasip3/cli-exit`.
    pub name: String,
    /// Its file.
    pub wasm: PathBuf,
    /// What is done with it.
    pub case: Case,
}

/// What is done with a program.
#[derive(Clone, Debug, Default)]
pub struct Case {
    /// One after the other.
    pub operations: Vec<Operation>,
    /// Whether it may use the network.
    pub sockets: bool,
    /// Whether it may send HTTP requests.
    pub http: bool,
    /// Whether it serves HTTP.
    pub serves: bool,
    /// Servers that it sends requests to.
    pub servers: Vec<Server>,
}

/// A server, whose address is in the program's environment.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// The variable is `HTTP_SERVER_` and this in capitals.
    pub name: String,
    /// `listening`, or `closed` for an address on which no process listens.
    pub kind: Option<String>,
    /// What it answers.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
}

/// What a server answers to one method and path.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// The method.
    #[serde(default = "get")]
    pub method: String,
    /// The path, with its query.
    #[serde(default = "slash")]
    pub path: String,
    /// Another answer than `response`.
    pub mode: Option<Mode>,
    /// The answer.
    #[serde(default)]
    pub response: Response,
}

fn get() -> String {
    "GET".to_owned()
}

fn slash() -> String {
    "/".to_owned()
}

/// An answer that a request determines.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The request's body.
    EchoBody,
    /// The request's head and trailers, as headers.
    EchoHeaders,
}

/// A response: of an endpoint, or what a program must answer.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// Headers; a program may answer more.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
    /// Instead of the body, its chunks.
    pub chunks: Option<Vec<String>>,
    /// After the chunks.
    pub trailers: BTreeMap<String, String>,
}

impl Default for Response {
    fn default() -> Response {
        let (headers, trailers) = Default::default();
        Response { status: 200, headers, body: String::new(), chunks: None, trailers }
    }
}

/// An operation.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Operation {
    /// Start it.
    Run {
        /// Its arguments.
        #[serde(default)]
        args: Vec<String>,
        /// Its environment.
        #[serde(default)]
        env: BTreeMap<String, String>,
        /// The directory that it sees as `/`.
        root: Option<PathBuf>,
    },
    /// Wait for its end.
    Wait {
        /// The exit code that it must have.
        #[serde(default)]
        exit_code: i32,
    },
    /// Read from one of its streams.
    Read {
        /// Which; standard output.
        #[serde(default = "stdout")]
        id: String,
        /// What must come.
        #[serde(default)]
        payload: String,
    },
    /// Write to its standard input.
    Write {
        /// The stream.
        id: String,
        /// What.
        #[serde(default)]
        payload: String,
    },
    /// Connect to the address that it prints.
    Connect {
        /// What to call the connection.
        id: String,
        /// `tcp`
        protocol_type: String,
    },
    /// Send over a connection.
    Send {
        /// Which.
        id: String,
        /// What.
        #[serde(default)]
        payload: String,
    },
    /// Receive from a connection.
    Recv {
        /// Which.
        id: String,
        /// What must come.
        #[serde(default)]
        payload: String,
    },
    /// Send it an HTTP request.
    Request {
        /// The method.
        #[serde(default = "get")]
        method: String,
        /// The path.
        #[serde(default = "slash")]
        path: String,
        /// Headers.
        #[serde(default)]
        headers: BTreeMap<String, String>,
        /// The body.
        #[serde(default)]
        body: String,
        /// What must come back.
        #[serde(default)]
        response: Response,
    },
    /// Send it a signal.
    Kill {
        /// Its name.
        signal: String,
    },
}

fn stdout() -> String {
    "stdout".to_owned()
}

/// The file beside a program: an older and a newer form.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    root: Option<PathBuf>,
    #[serde(default)]
    exit_code: i32,
    stdout: Option<String>,
    stderr: Option<String>,
    operations: Option<Vec<Operation>>,
    #[serde(default)]
    proposals: Vec<String>,
    world: Option<String>,
    #[serde(default)]
    servers: Vec<Server>,
}

impl File {
    /// Paths are relative to `directory`.
    fn case(self, directory: &Path) -> Case {
        let read =
            |id: &str, payload: Option<String>| payload.map(|payload| Operation::Read { id: id.to_owned(), payload });
        let older = || {
            let run = Operation::Run { args: self.args.clone(), env: self.env.clone(), root: self.root.clone() };
            let streams = [read("stdout", self.stdout.clone()), read("stderr", self.stderr.clone())];
            let wait = Operation::Wait { exit_code: self.exit_code };
            [run].into_iter().chain(streams.into_iter().flatten()).chain([wait]).collect()
        };
        let mut operations = self.operations.clone().unwrap_or_else(older);
        for operation in &mut operations {
            if let Operation::Run { root: Some(root), .. } = operation {
                *root = directory.join(&root);
            }
        }
        let [sockets, http] = ["sockets", "http"].map(|name| self.proposals.iter().any(|proposal| proposal == name));
        let serves = self.world.as_deref() == Some("wasi:http/service");
        Case { operations, sockets, http, serves, servers: self.servers }
    }
}

#[derive(Deserialize)]
struct Manifest {
    version: String,
}

/// The programs of every suite below `tests`, which is `LANGUAGE/testsuite/VERSION`.
///
/// # Errors
/// When a file cannot be read or understood, or there is no program at all.
pub fn programs_in(tests: &Path) -> Result<Vec<Program>> {
    let mut programs = Vec::new();
    for language in directories(tests)? {
        let suites = language.join("testsuite");
        for suite in suites.is_dir().then(|| directories(&suites)).transpose()?.into_iter().flatten() {
            let manifest: Manifest = read(&suite.join("manifest.json"))?;
            let of = format!("{}/{}", file_name(&language), manifest.version);
            for entry in fs::read_dir(&suite)? {
                let wasm = entry?.path();
                if wasm.extension().is_some_and(|extension| extension == "wasm") {
                    let beside = wasm.with_extension("json");
                    let file = if beside.is_file() { read(&beside)? } else { File::default() };
                    let name = format!("{of}/{}", wasm.file_stem().unwrap_or_default().to_string_lossy());
                    programs.push(Program { name, wasm, case: file.case(&suite) });
                }
            }
        }
    }
    ensure!(!programs.is_empty(), "expected programs below {}, found none", tests.display());
    programs.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(programs)
}

fn directories(of: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(of).with_context(|| of.display().to_string())?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    Ok(paths.into_iter().filter(|path| path.is_dir()).collect())
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read(path).with_context(|| path.display().to_string())?;
    serde_json::from_slice(&text).with_context(|| path.display().to_string())
}

/// Runs every program for every profile, on all cores; a line of counts for each suite and profile.
///
/// # Errors
/// When a program's file cannot be read.
pub fn run(suite: &str, programs: &[Program], profiles: &[Profile], skips: &Skips, on: &str) -> Result<Vec<Counts>> {
    let counts = Mutex::new(BTreeMap::<(String, String), Counts>::new());
    let abilities = Abilities::of_isomer_run();
    let (with, without): (Vec<_>, Vec<_>) = programs.iter().partition(|program| abilities.suffice(&program.case));
    let work = Mutex::new(with.into_iter());
    let worker = || -> Result<()> {
        loop {
            let Some(program) = work.lock().expect("no holder panics").next() else { return Ok(()) };
            let modules = [("program.wasm".to_owned(), fs::read(&program.wasm)?)].into();
            let artifacts = artifacts::compile(&modules, profiles)?;
            for profile in profiles {
                let result = run_one(program, &artifacts, profile);
                let version = program.name.split('/').nth(1).unwrap_or_default();
                let mut counts = counts.lock().expect("no holder panics");
                let key = (version.to_owned(), profile.name.clone());
                let of = format!("{suite}, {version}");
                counts.entry(key).or_insert_with(|| Counts::of(&of, &profile.name, on)).add(
                    &program.name,
                    result,
                    skips,
                );
            }
        }
    };
    thread::scope(|scope| {
        let count = thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..count).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("workers do not panic"))
    })?;
    let mut counts: Vec<_> = counts.into_inner().expect("no holder panics").into_values().collect();
    if !without.is_empty() {
        let reason = format!(
            "{} programs need `serve`, `run --allow-net` or `run --allow-http`, which this isomer-run does not have",
            without.len()
        );
        let of = format!("{suite}, network");
        counts.extend(
            profiles
                .iter()
                .map(|profile| Counts { reason: Some(reason.clone()), ..Counts::of(&of, &profile.name, on) }),
        );
    }
    Ok(counts)
}

/// The number of operations, if each did what it must.
fn run_one(program: &Program, artifacts: &Artifacts, profile: &Profile) -> Result<usize> {
    match artifacts.of("program.wasm", profile) {
        Made::Artifact(artifact) => operate::operate(&program.case, &artifact),
        Made::Refused(why) => bail!("it is refused: {why}"),
        Made::Failed(why) => bail!("it does not compile: {why}"),
    }
}
