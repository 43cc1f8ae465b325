//! Holds upstream's wasmtime to what guests.toml says. In: a guest, wasmtime. Out: a line for each difference. Never here:
//! isomer, which the tests hold to the same table.

use super::shown;
use anyhow::{Context, Result};
use isomer_testing::guests::{Case, Guest, directory};
use isomer_testing::http_client::Connection;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

/// One line for each case or request in which upstream's wasmtime does something else than the table says.
pub(super) fn faults(guest: &Guest, wasmtime: &Path, wasm: &Path) -> Result<Vec<String>> {
    let mut problems = vec![];
    for (index, case) in guest.cases.iter().enumerate() {
        let output = run_case(guest, case, wasmtime, wasm)?;
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        // wasmtime aborts after a trap; a shell shows the signal as 128 + 6.
        let code = output.status.code().or_else(|| output.status.signal().map(|signal| 128 + signal));
        if let Some(fault) = case.fault(&stdout, &stderr, code.unwrap_or(-1)) {
            problems.push(format!("{} case {index}: {fault}; printed {stdout:?}\n{stderr}", shown(wasm)));
        }
    }
    if !guest.requests.is_empty() {
        problems.extend(request_faults(guest, wasmtime, wasm)?);
    }
    Ok(problems)
}

fn request_faults(guest: &Guest, wasmtime: &Path, wasm: &Path) -> Result<Vec<String>> {
    let server = Server::start(guest, wasmtime, wasm)?;
    let mut problems = vec![];
    for (index, request) in guest.requests.iter().enumerate() {
        let mut connection = Connection::open(server.address)?;
        connection.send(request.bytes())?;
        let response = connection.receive();
        let fault = match &response {
            Ok(response) => request.fault(response),
            Err(error) => Some(error.to_string()),
        };
        if let Some(fault) = fault {
            problems.push(format!("{} request {index}, {}: {fault}", shown(wasm), request.path));
        }
    }
    let log = server.stop()?;
    for trap in guest.requests.iter().filter_map(|request| request.trap.as_ref()) {
        if !log.contains(trap.as_str()) {
            problems.push(format!("{}: expected the trap `{trap}` in the log\n{log}", shown(wasm)));
        }
    }
    Ok(problems)
}

/// `wasmtime serve` on a free port.
struct Server {
    child: Child,
    stderr: BufReader<ChildStderr>,
    address: SocketAddr,
}

impl Server {
    fn start(guest: &Guest, wasmtime: &Path, wasm: &Path) -> Result<Server> {
        let mut command = Command::new(wasmtime);
        command.args(["serve", "--addr", "127.0.0.1:0"]).args(proposals(guest)).arg(wasm).env("RUST_BACKTRACE", "0");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("could not start {command:?}"))?;
        let mut stderr = BufReader::new(child.stderr.take().expect("it is a pipe"));
        let mut line = String::new();
        stderr.read_line(&mut line)?;
        let address = line.trim().strip_prefix("Serving HTTP on http://").map(|rest| rest.trim_end_matches('/'));
        let address = address.and_then(|address| address.parse().ok());
        let Some(address) = address else {
            child.kill()?;
            child.wait()?;
            stderr.read_to_string(&mut line)?;
            anyhow::bail!("{command:?} does not serve: {line}");
        };
        Ok(Server { child, stderr, address })
    }

    /// What it printed.
    fn stop(mut self) -> Result<String> {
        self.child.kill()?;
        self.child.wait()?;
        let mut log = String::new();
        self.stderr.read_to_string(&mut log)?;
        Ok(log)
    }
}

fn proposals(guest: &Guest) -> impl Iterator<Item = String> {
    guest.needs.iter().map(|need| format!("-W{need}=y"))
}

fn run_case(guest: &Guest, case: &Case, wasmtime: &Path, wasm: &Path) -> Result<Output> {
    let mut command = Command::new(wasmtime);
    command.arg("run").env("RUST_BACKTRACE", "0").args(proposals(guest));
    // Not a proposal of its own: wasmtime's switch to let guests create what `threads` describes.
    if guest.needs.iter().any(|need| need == "threads") {
        command.arg("-Wshared-memory=y");
    }
    for (name, value) in &case.env {
        command.arg("--env").arg(format!("{name}={value}"));
    }
    if let Some(dir) = &case.dir {
        command.arg("--dir").arg(format!("{}::.", directory().join(dir).display()));
    }
    if let Some(invoke) = &case.invoke {
        command.arg("--invoke").arg(invoke);
    }
    command.arg(wasm).args(&case.args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("could not start {command:?}"))?;
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    // Cases' inputs fit into the pipe's buffer; a guest that never reads them closes it early, which is fine.
    let _ = stdin.write_all(case.stdin.as_bytes());
    drop(stdin);
    Ok(child.wait_with_output()?)
}
