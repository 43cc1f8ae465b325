//! `cargo xtask bench serve`: the same artifact served by `isomer-run serve` and by upstream's `wasmtime serve`, in turns,
//! on the same cores, with the same load. Never here: a number without its ratio.

use super::load::{Load, Measured, Protocol};
use super::{BACKTRACE, Bench, median, watch};
use crate::languages::{self, Language};
use anyhow::{Context, Result, bail, ensure};
use isomer_testing::http_client;
use isomer_testing::root;
use isomer_testing::shell;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const CONNECTIONS: [usize; 3] = [1, 32, 256];
/// How often each load is measured; the median counts.
const ROUNDS: usize = 3;
/// How long a server may take until it answers: upstream checks nothing, and an interpreter is large.
const START: Duration = Duration::from_secs(60);

#[derive(clap::Args)]
pub(crate) struct ServeArgs {
    /// How long each load lasts for `serve`, in seconds
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// How long 1,000 connections are kept busy for `serve`, in seconds
    #[arg(long, default_value_t = 60)]
    soak_seconds: u64,
}

impl Bench {
    /// Every server of ours, in both versions of WASI and three languages.
    pub(super) fn serve(&self, args: &ServeArgs, names: &[String], runs: usize) -> Result<()> {
        let cores = Cores::split()?;
        println!(
            "servers on {}, clients on {}; {} s a load, median of {ROUNDS}\n",
            cores.server, cores.client, args.seconds
        );
        for name in ["proxy", "service", "javascript", "python"] {
            if !names.is_empty() && !names.iter().any(|wanted| wanted == name) {
                continue;
            }
            match component(name) {
                Ok(wasm) => self.serve_one(name, &wasm, args, &cores, runs)?,
                Err(error) => println!("{name}: skipped: {error:#}\n"),
            }
        }
        Ok(())
    }

    fn serve_one(&self, name: &str, wasm: &Path, args: &ServeArgs, cores: &Cores, runs: usize) -> Result<()> {
        let artifact = self.directory.join(format!("{name}.cwasm"));
        let mut compile = self.isomer();
        compile.arg("compile").arg(wasm).args(["-t", "x86-64-v2", "-o"]).arg(&artifact);
        shell::run(compile.stdout(Stdio::null()))?;
        let sides = [self.ours(&artifact), self.theirs(&artifact)];
        println!("{name}");
        print_header();
        self.first_response(&sides, cores, runs)?;
        self.memory(&sides, cores, args)?;
        for protocol in [Protocol::Http1, Protocol::Http2] {
            // Upstream speaks HTTP/1 only.
            if protocol == Protocol::Http2 {
                self.loads(&sides[..1], protocol, cores, args)?;
            } else {
                self.loads(&sides, protocol, cores, args)?;
            }
        }
        if args.soak_seconds > 0 {
            self.soak(&sides[0], cores, args)?;
        }
        println!();
        Ok(())
    }

    fn ours(&self, artifact: &Path) -> Side {
        let mut arguments: Vec<_> = ["serve", "--allow-unsigned", "--addr", "127.0.0.1:0"].map(Into::into).into();
        arguments.push(artifact.into());
        Side { program: self.programs.join("isomer-run"), arguments }
    }

    fn theirs(&self, artifact: &Path) -> Side {
        // Interpreters import more than the proxy's world.
        let words = ["serve", "-Scli", "--allow-precompiled", "--addr", "127.0.0.1:0"];
        let mut arguments: Vec<_> = words.map(Into::into).into();
        arguments.push(artifact.into());
        Side { program: self.upstream.clone(), arguments }
    }

    /// From exec to the first response.
    fn first_response(&self, sides: &[Side; 2], cores: &Cores, runs: usize) -> Result<()> {
        let mut took = [Vec::new(), Vec::new()];
        for _ in 0..runs {
            for (side, took) in sides.iter().zip(&mut took) {
                let begun = Instant::now();
                let server = side.start(cores)?;
                took.push(begun.elapsed());
                server.stop()?;
            }
        }
        let [ours, theirs] = took.map(|took| median(took).as_secs_f64() * 1e3);
        print_row("first response", &format!("{ours:.1} ms"), &format!("{theirs:.1} ms"), Some(ours / theirs));
        Ok(())
    }

    /// After one response, and the most while 256 connections are busy.
    fn memory(&self, sides: &[Side; 2], cores: &Cores, args: &ServeArgs) -> Result<()> {
        let mut held = Vec::new();
        for side in sides {
            let server = side.start(cores)?;
            let rest = server.memory_bytes()?;
            let load = self.load(&server, Protocol::Http1, 256, cores, args.seconds);
            let mut running = load.start()?;
            let mut peak = rest;
            while running.try_wait()?.is_none() {
                peak = peak.max(server.memory_bytes()?);
                thread::sleep(Duration::from_millis(50));
            }
            held.push([rest, peak]);
            server.stop()?;
        }
        for (index, what) in ["memory at rest", "memory, 256 connections"].into_iter().enumerate() {
            let [ours, theirs] = [held[0][index], held[1][index]].map(|bytes| bytes as f64 / 1e6);
            print_row(what, &format!("{ours:.1} MB"), &format!("{theirs:.1} MB"), Some(ours / theirs));
        }
        Ok(())
    }

    fn loads(&self, sides: &[Side], protocol: Protocol, cores: &Cores, args: &ServeArgs) -> Result<()> {
        for connections in CONNECTIONS {
            let mut rounds: Vec<Vec<Measured>> = sides.iter().map(|_| Vec::new()).collect();
            for _ in 0..ROUNDS {
                for (side, rounds) in sides.iter().zip(&mut rounds) {
                    let server = side.start(cores)?;
                    rounds.push(self.load(&server, protocol, connections, cores, args.seconds).run()?);
                    server.stop()?;
                }
            }
            let ours = Measured::median(&rounds[0]);
            let theirs = rounds.get(1).map(|rounds| Measured::median(rounds));
            let what = |what: &str| format!("{protocol}, {connections} connections, {what}");
            let row = |name: &str, ours: f64, theirs: Option<f64>, unit: &str| {
                let shown = theirs.map_or_else(|| "–".to_owned(), |theirs| format!("{theirs:.2} {unit}"));
                print_row(&what(name), &format!("{ours:.2} {unit}"), &shown, theirs.map(|theirs| ours / theirs));
            };
            let kilo = |it: &Measured| it.requests_per_s / 1e3;
            row("requests", kilo(&ours), theirs.as_ref().map(kilo), "k/s");
            for (index, name) in ["p50", "p99", "p99.9"].into_iter().enumerate() {
                row(name, ours.latency_ms[index], theirs.as_ref().map(|it| it.latency_ms[index]), "ms");
            }
            if ours.failed > 0 {
                println!("  {}: {}", what("requests that isomer failed"), ours.failed);
            }
        }
        Ok(())
    }

    /// A thousand connections for a minute: what is held at the end against what was held after a sixth of that.
    fn soak(&self, side: &Side, cores: &Cores, args: &ServeArgs) -> Result<()> {
        let server = side.start(cores)?;
        let mut running = self.load(&server, Protocol::Http1, 1000, cores, args.soak_seconds).start()?;
        thread::sleep(Duration::from_secs(args.soak_seconds) / 6);
        let early = server.memory_bytes()?;
        let mut late = early;
        while running.try_wait()?.is_none() {
            late = server.memory_bytes()?;
            thread::sleep(Duration::from_millis(500));
        }
        let [early, late] = [early, late].map(|bytes| bytes as f64 / 1e6);
        let what = format!("1,000 connections, {} s: memory, late and early", args.soak_seconds);
        print_row(&what, &format!("{late:.1} MB"), &format!("{early:.1} MB"), Some(late / early));
        server.stop()
    }

    fn load(&self, server: &Running, protocol: Protocol, connections: usize, cores: &Cores, seconds: u64) -> Load {
        Load {
            url: format!("http://{}/hello", server.address),
            protocol,
            connections,
            seconds,
            cores: cores.client.clone(),
            directory: self.directory.clone(),
        }
    }
}

fn component(name: &str) -> Result<PathBuf> {
    match name {
        "javascript" => languages::build(Language::Javascript),
        "python" => languages::build(Language::Python),
        name => Ok(root().join(format!("tests/guests/{name}.wasm"))),
    }
}

/// Which cores servers and clients have, as `taskset --cpu-list` takes them.
struct Cores {
    server: String,
    client: String,
}

impl Cores {
    /// One half each.
    fn split() -> Result<Cores> {
        let count = thread::available_parallelism()?.get();
        ensure!(count >= 2, "a server and its clients need a core each");
        let half = count / 2;
        Ok(Cores { server: format!("0-{}", half - 1), client: format!("{half}-{}", count - 1) })
    }
}

/// One of the two servers.
struct Side {
    program: PathBuf,
    arguments: Vec<std::ffi::OsString>,
}

/// It runs and has answered once.
struct Running {
    child: Child,
    address: SocketAddr,
    _stderr: BufReader<ChildStderr>,
}

impl Side {
    fn start(&self, cores: &Cores) -> Result<Running> {
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", &cores.server]).arg(&self.program).args(&self.arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).env_remove(BACKTRACE);
        let mut child = command.spawn().with_context(|| format!("could not start {command:?}"))?;
        let mut stderr = BufReader::new(child.stderr.take().expect("it is a pipe"));
        let Some(address) = address(&mut stderr)? else {
            child.wait()?;
            bail!("{command:?} does not serve");
        };
        let begun = Instant::now();
        loop {
            match http_client::get(address, "/hello") {
                Ok(response) if response.text() == "hello\n" => break,
                other if begun.elapsed() > START => bail!("{command:?} answers {other:?}"),
                _ => thread::yield_now(),
            }
        }
        Ok(Running { child, address, _stderr: stderr })
    }
}

/// Where it says that it serves; both say it in the same words.
fn address(stderr: &mut BufReader<ChildStderr>) -> Result<Option<SocketAddr>> {
    let mut all = String::new();
    loop {
        let mut line = String::new();
        if stderr.by_ref().read_line(&mut line)? == 0 {
            eprint!("{all}");
            return Ok(None);
        }
        if let Some(address) = line.trim().strip_prefix("Serving HTTP on http://") {
            return Ok(address.trim_end_matches('/').parse().ok());
        }
        all += &line;
    }
}

impl Running {
    fn memory_bytes(&self) -> Result<u64> {
        watch::memory_bytes(self.child.id()).context("the server has ended")
    }

    fn stop(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

fn print_header() {
    println!("  {:<56} {:>12} {:>12} {:>7}", "", "isomer", "wasmtime", "ratio");
}

fn print_row(what: &str, ours: &str, theirs: &str, ratio: Option<f64>) {
    let ratio = ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"));
    println!("  {what:<56} {ours:>12} {theirs:>12} {ratio:>7}");
}
