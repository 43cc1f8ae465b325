//! The guests of `tests/guests/guests.toml`, run by a program on a machine. In: a case, a machine. Out: what came out,
//! and what is wrong with it. Never here: what must come out, which the table says.

use crate::foreign::{Machine, Program};
use crate::{Call, Ran};
use isomer_testing::guests::{Case, Guest, directory, table};

/// All guests.
pub fn guests() -> Vec<Guest> {
    table().guests
}

/// Runs `case` on `machine`; `what` are the arguments that name the artifact.
pub fn run(case: &Case, machine: &Machine, what: &[&str]) -> Ran {
    call(case, machine, what).run()
}

/// The call that [`run`] makes.
pub fn call(case: &Case, machine: &Machine, what: &[&str]) -> Call {
    let isomer = machine.has(Program::Run);
    let call = machine.call(if isomer { Program::Run } else { Program::Upstream }).arg("run");
    let mut call = call.arg(if isomer { "--allow-unsigned" } else { "--allow-precompiled" }).stdin(case.stdin.clone());
    if let Some(beside) = &case.dir {
        call = call.arg("--dir").arg(format!("{}::.", directory().join(beside).display()));
    }
    for (name, value) in &case.env {
        call = call.arg("--env").arg(format!("{name}={value}"));
    }
    if let Some(export) = &case.invoke {
        call = call.arg("--invoke").arg(export);
    }
    call.args(what).args(&case.args)
}

/// What is wrong with it, if anything.
pub fn fault(case: &Case, ran: &Ran) -> Option<String> {
    let fault = case.fault(&ran.stdout(), &ran.stderr(), ran.code())?;
    Some(format!("{fault}: {ran}"))
}
