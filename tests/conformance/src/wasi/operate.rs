//! In: what is done with a program, and its artifact. Out: whether each operation did what it must. Each program gets a
//! copy of its directory, so that a checkout stays as it is and programs can run at once.

use super::http::{self, Serving};
use super::stream::Stream;
use super::{Case, Operation, Response};
use anyhow::{Context, Result, bail, ensure};
use isomer_tests::{binaries, copy, scratch, signal};
use std::collections::BTreeMap;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// All hosts with all ports; without ports, a rule is about the scheme's own.
const ANY_PORT: &str = "*:1-65535";

/// How long one operation may take.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Does all of it; how many operations that were.
pub(super) fn operate(case: &Case, artifact: &Path) -> Result<usize> {
    let root = scratch();
    let mut session = Session::default();
    for (number, operation) in case.operations.iter().enumerate() {
        let result = session.operate(operation, case, artifact, root.path());
        if let Err(error) = result {
            let seen = session.end();
            return Err(error.context(format!("operation {}", number + 1)).context(seen));
        }
    }
    ensure!(session.running.is_none(), "no operation waited for its end");
    Ok(case.operations.len())
}

#[derive(Default)]
struct Session {
    running: Option<Running>,
    connections: BTreeMap<String, (TcpStream, Stream)>,
    /// The servers that it sends requests to.
    servers: Vec<Serving>,
    /// Where it serves.
    address: Option<SocketAddr>,
}

struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Stream,
    stderr: Stream,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Session {
    fn operate(&mut self, operation: &Operation, case: &Case, artifact: &Path, scratch: &Path) -> Result<()> {
        let deadline = Instant::now() + WAIT_MAX;
        match operation {
            Operation::Run { args, env, root } => {
                if let Some(root) = root {
                    copy(root, scratch);
                }
                let mut env = env.clone();
                for server in &case.servers {
                    let serving = Serving::start(server)?;
                    env.insert(format!("HTTP_SERVER_{}", server.name.to_uppercase()), serving.address.to_string());
                    self.servers.push(serving);
                }
                let mut call = if case.serves {
                    serve(artifact, scratch, &env)?
                } else {
                    let mut call = run(case, artifact, root.is_some().then_some(scratch), &env);
                    call.args(args);
                    call
                };
                call.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
                let mut child = call.spawn().with_context(|| format!("{call:?}"))?;
                let stdin = child.stdin.take();
                let stdout = Stream::of(child.stdout.take().context("a pipe")?);
                let stderr = Stream::of(child.stderr.take().context("a pipe")?);
                self.running = Some(Running { child, stdin, stdout, stderr });
            }
            Operation::Wait { exit_code } => {
                let mut running = self.running.take().context("nothing runs")?;
                running.stdin = None;
                let status = wait(&mut running, deadline)?;
                let found = exit_code_of(status);
                ensure!(
                    found == *exit_code,
                    "expected the exit code {exit_code}, found {found}: {}{}",
                    running.stdout.rest(),
                    running.stderr.rest()
                );
            }
            Operation::Read { id, payload } => {
                let running = self.running()?;
                let stream = if id == "stderr" { &running.stderr } else { &running.stdout };
                expect(&stream.take(payload.len(), deadline)?, payload)?;
            }
            Operation::Write { payload, .. } => {
                let stdin = self.running()?.stdin.as_mut().context("its standard input is closed")?;
                stdin.write_all(payload.as_bytes()).and_then(|()| stdin.flush())?;
            }
            Operation::Connect { id, protocol_type } => {
                ensure!(protocol_type == "tcp", "expected the protocol tcp, found {protocol_type}");
                let line = self.running()?.stdout.line(deadline)?;
                let address: SocketAddr =
                    line.parse().with_context(|| format!("expected an address, found {line:?}"))?;
                let connection = TcpStream::connect_timeout(&address, WAIT_MAX)?;
                let stream = Stream::of(connection.try_clone()?);
                self.connections.insert(id.clone(), (connection, stream));
            }
            Operation::Send { id, payload } => {
                self.connections.get_mut(id).context("no such connection")?.0.write_all(payload.as_bytes())?;
            }
            Operation::Recv { id, payload } => {
                let (_, stream) = self.connections.get(id).context("no such connection")?;
                expect(&stream.take(payload.len(), deadline)?, payload)?;
            }
            Operation::Request { method, path, headers, body, response } => {
                let address = self.address(deadline)?;
                meets(&http::request(address, method, path, headers, body)?, response)?;
            }
            Operation::Kill { signal: name } => signal(self.running()?.child.id(), name.trim_start_matches("SIG")),
        }
        Ok(())
    }

    /// Where it says that it serves.
    fn address(&mut self, deadline: Instant) -> Result<SocketAddr> {
        if let Some(address) = self.address {
            return Ok(address);
        }
        loop {
            let line = self.running()?.stderr.line(deadline)?;
            ensure!(!line.is_empty(), "expected an URL on standard error");
            let rest = line.split_once("http://").map(|(_, rest)| rest.split('/').next().unwrap_or_default());
            if let Some(address) = rest.and_then(|address| address.parse().ok()) {
                self.address = Some(address);
                return Ok(address);
            }
        }
    }

    fn running(&mut self) -> Result<&mut Running> {
        self.running.as_mut().context("nothing runs")
    }

    /// Ends it; what it printed and was not read.
    fn end(&mut self) -> String {
        let Some(mut running) = self.running.take() else { return String::new() };
        let _ = running.child.kill();
        let _ = running.child.wait();
        format!("{}{}", running.stdout.rest(), running.stderr.rest())
    }
}

fn isomer_run() -> Command {
    let mut call = Command::new(binaries().join("isomer-run"));
    for name in ["NO_COLOR", "CLICOLOR_FORCE", "ISOMER_LOG", "RUST_LOG", "RUST_BACKTRACE"] {
        call.env_remove(name);
    }
    call
}

/// The call that serves with one route.
fn serve(artifact: &Path, scratch: &Path, env: &BTreeMap<String, String>) -> Result<Command> {
    let env: Vec<_> = env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let file = scratch.join("serve.toml");
    let text = format!(
        "addresses = [\"127.0.0.1:0\"]\n[[route]]\nmodule = {artifact:?}\n[route.grants]\nenv = {env:?}\nallow-http = \
         [\"{ANY_PORT}\"]\n"
    );
    std::fs::write(&file, text)?;
    let mut call = isomer_run();
    call.args(["serve", "--allow-unsigned", "-f"]).arg(file);
    Ok(call)
}

/// The call that gives the guest what the case grants.
fn run(case: &Case, artifact: &Path, root: Option<&Path>, env: &BTreeMap<String, String>) -> Command {
    let mut call = isomer_run();
    call.args(["run", "--allow-unsigned"]);
    if let Some(root) = root {
        call.arg("--dir").arg(format!("{}::/", root.display()));
    }
    for (name, value) in env {
        call.arg("--env").arg(format!("{name}={value}"));
    }
    if case.sockets {
        call.args(["--allow-net=*", "--allow-net=tcp-listen:*", "--allow-net=udp-listen:*"]);
    }
    if case.http {
        call.arg(format!("--allow-http={ANY_PORT}"));
    }
    call.arg(artifact);
    call
}

/// Of a response, what the program must answer.
fn meets(found: &http::Message, expected: &Response) -> Result<()> {
    let status = found.first.split(' ').nth(1).unwrap_or_default();
    expect(status, &expected.status.to_string()).with_context(|| String::from_utf8_lossy(&found.body).into_owned())?;
    for (name, value) in &expected.headers {
        expect(found.header(&name.to_ascii_lowercase()).unwrap_or("no such header"), value)?;
    }
    expect(&String::from_utf8_lossy(&found.body), &expected.body)
}

fn expect(found: &str, expected: &str) -> Result<()> {
    ensure!(found == expected, "expected {expected:?}, found {found:?}");
    Ok(())
}

/// As a shell shows it.
fn exit_code_of(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

fn wait(running: &mut Running, deadline: Instant) -> Result<ExitStatus> {
    loop {
        if let Some(status) = running.child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() > deadline {
            bail!("it runs for more than {WAIT_MAX:?}: {}{}", running.stdout.rest(), running.stderr.rest());
        }
        thread::sleep(Duration::from_millis(5));
    }
}
