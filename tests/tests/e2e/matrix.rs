//! Every guest, compiled for every target, on a CPU that has exactly what the target requires: the same output, exit
//! code and trap everywhere. And on CPUs that lack an extension: refused by its name, before anything runs; where
//! the check is left out, the same code dies or computes a wrong result.

use isomer_testing::guests::Guest;
use isomer_tests::foreign::{Foreign, Machine, Program};
use isomer_tests::guests::{fault, guests, run};
use isomer_tests::matrix::{Control, Ends, Row, rows, table, target_extensions, wanted_rows};
use isomer_tests::{Ran, guest, isomer, proof, root, scratch, skip};
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};
use std::{fs, thread};

const SIGILL: i32 = 4;

/// A guest on a target.
#[derive(Serialize)]
struct Cell {
    target: String,
    guest: String,
    /// The CPU.
    on: String,
    state: State,
    cases: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Passed,
    Failed,
    Skipped,
    /// The target cannot express what the guest uses.
    Inexpressible,
}

struct Artifacts {
    directory: tempfile::TempDir,
    /// Why there is none, by guest and target.
    inexpressible: BTreeMap<(String, String), String>,
}

impl Artifacts {
    fn of(&self, guest: &str, target: &str) -> PathBuf {
        self.directory.path().join(format!("{guest}.{target}.cwasm"))
    }
}

/// Every guest and control for every target, compiled once.
fn artifacts() -> &'static Artifacts {
    static ARTIFACTS: OnceLock<Artifacts> = OnceLock::new();
    ARTIFACTS.get_or_init(|| {
        let directory = scratch();
        let controls = fs::read_dir(root().join("tests/controls")).unwrap().map(|entry| entry.unwrap().path());
        let inputs = guests().iter().map(|entry| guest(&entry.name)).chain(controls).collect::<Vec<_>>();
        let mut compile = isomer().arg("compile").args(inputs).arg("--json");
        for row in wanted_rows() {
            compile = compile.arg("-t").arg(if row.is_shipped() { row.target.into() } else { row.profile() });
        }
        // Where some cells are not expressible the call as a whole fails; the others are written.
        let compiled = compile.arg("--out-dir").arg(directory.path()).run().json();
        let text = |cell: &Value, key: &str| cell[key].as_str().unwrap_or_default().to_owned();
        let mut inexpressible = BTreeMap::new();
        for cell in compiled.as_array().unwrap() {
            match text(cell, "status").as_str() {
                "compiled" => {}
                "not-expressible" => {
                    inexpressible.insert((text(cell, "module"), text(cell, "target")), text(cell, "reason"));
                }
                other => panic!("{other}: {cell:#}"),
            }
        }
        Artifacts { directory, inexpressible }
    })
}

#[test]
fn every_target_has_a_row() {
    let listed = isomer().line("targets --json").ok().json();
    let listed: BTreeSet<_> =
        listed.as_array().unwrap().iter().map(|target| target["name"].as_str().unwrap()).collect();
    let rows = rows();
    let shipped: Vec<_> = rows.iter().filter(|row| row.is_shipped()).map(|row| row.target.as_str()).collect();
    assert_eq!(listed, shipped.iter().copied().collect());
    assert_eq!(shipped.len(), listed.len(), "a target twice");
}

/// `cargo test -p isomer-tests --test e2e the_page` prints the table that belongs there.
#[test]
fn the_page_shows_the_table() {
    let page = fs::read_to_string(root().join("docs/testing.md")).unwrap();
    assert!(page.contains(&table()), "docs/testing.md does not hold the table of tests/matrix.toml:\n\n{}", table());
}

#[test]
fn every_guest_runs_on_every_target() {
    let (foreign, guests) = (Foreign::read(), guests());
    let cells = Mutex::new(Vec::new());
    let mut work = Vec::new();
    for row in wanted_rows() {
        match row.machine(&foreign) {
            Ok((machine, on)) => {
                has_just_the_extensions(&row, &machine);
                work.extend(guests.iter().map(|guest| (row.clone(), machine.clone(), on.clone(), guest)));
            }
            Err(reason) => {
                assert!(row.target != "pulley64", "the interpreter runs everywhere");
                skip(&format!("every_guest_runs_on_every_target: {}", row.target), &reason);
                let cell = |guest: &Guest| Cell {
                    target: row.target.clone(),
                    guest: guest.name.clone(),
                    on: "–".to_owned(),
                    state: State::Skipped,
                    cases: 0,
                    reason: Some(reason.clone()),
                };
                cells.lock().unwrap().extend(guests.iter().map(cell));
            }
        }
    }
    let work = Mutex::new(work.into_iter());
    artifacts();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let next = work.lock().unwrap().next();
                    let Some((row, machine, on, guest)) = next else { break };
                    let cell = run_cell(&row, &machine, on, guest);
                    cells.lock().unwrap().push(cell);
                }
            });
        }
    });
    let cells = cells.into_inner().unwrap();
    proof::record("matrix", &cells);
    let count = |state| cells.iter().filter(|cell| cell.state == state).count();
    let calls: usize = cells.iter().map(|cell| cell.cases).sum();
    println!(
        "{} guests on targets passed ({calls} calls), {} failed, {} skipped, {} not expressible",
        count(State::Passed),
        count(State::Failed),
        count(State::Skipped),
        count(State::Inexpressible)
    );
    let failed: Vec<_> = cells.iter().filter(|cell| cell.state == State::Failed).collect();
    let shown = failed.iter().map(|cell| format!("{} on {} ({}): {:?}", cell.guest, cell.target, cell.on, cell.reason));
    assert!(failed.is_empty(), "{}", shown.collect::<Vec<_>>().join("\n"));
    assert!(count(State::Passed) > 0, "nothing ran");
}

/// The emulated CPU shows what the row says: no extension of the target is missing, and none more is there.
#[track_caller]
fn has_just_the_extensions(row: &Row, machine: &Machine) {
    if !row.is_exact() || !machine.has(Program::Run) {
        return;
    }
    let texts = |list: &Value| list.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    let found: BTreeSet<String> = texts(&machine.call(Program::Run).line("host --json").ok().json()["isa"]);
    let plain = if row.target.starts_with("pulley") { return } else { baseline(&row.target) };
    let beyond: BTreeSet<_> = found.difference(&plain).cloned().collect();
    assert_eq!(beyond, row.extensions(&target_extensions(row)), "{}: the CPU's extensions", row.target);
}

/// What every CPU of the architecture has; `isomer` names no target for that.
fn baseline(target: &str) -> BTreeSet<String> {
    let names: &[&str] = match target {
        name if name.starts_with("x86-64") => &["fxsr", "sse", "sse2"],
        name if name.starts_with("rv") || name.starts_with("riscv") => &["a", "d", "f", "m", "zicsr", "zifencei"],
        name if name.starts_with('z') => &[
            "distinct-ops",
            "high-word",
            "interlocked-access1",
            "load-store-on-cond",
            "load-store-on-cond-2",
            "miscellaneous-extensions",
            "miscellaneous-extensions-2",
            "population-count",
            "vector",
            "vector-enhancements-1",
        ],
        _ => &["fp", "neon"],
    };
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn run_cell(row: &Row, machine: &Machine, on: String, guest: &Guest) -> Cell {
    let cell = |state, cases, reason| Cell {
        target: row.target.clone(),
        guest: guest.name.clone(),
        on: on.clone(),
        state,
        cases,
        reason,
    };
    if let Some(reason) = artifacts().inexpressible.get(&(guest.name.clone(), row.target.clone())) {
        return cell(State::Inexpressible, 0, Some(reason.clone()));
    }
    let artifact = artifacts().of(&guest.name, &row.target);
    for case in &guest.cases {
        let ran = run(case, machine, &[artifact.to_str().unwrap()]);
        if let Some(fault) = fault(case, &ran) {
            return cell(State::Failed, guest.cases.len(), Some(fault));
        }
    }
    cell(State::Passed, guest.cases.len(), None)
}

/// What a CPU that lacks something was told, or did.
#[derive(Serialize)]
struct Lack {
    target: String,
    cpu: String,
    lacks: BTreeSet<String>,
    state: State,
    output: String,
}

#[test]
fn a_cpu_that_lacks_an_extension_is_refused_by_its_name() {
    let foreign = Foreign::read();
    let mut lacks = Vec::new();
    for row in wanted_rows() {
        for lacking in &row.lacking {
            let (target, cpu) = (row.target.clone(), lacking.cpu.clone());
            let machine = match row.lacking_machine(&foreign, lacking) {
                Ok(machine) if machine.has(Program::Run) => machine,
                Ok(_) => continue,
                Err(reason) => {
                    skip(&format!("a_cpu_that_lacks_an_extension_is_refused_by_its_name: {target}"), &reason);
                    lacks.push(Lack {
                        target,
                        cpu,
                        lacks: lacking.lacks.clone(),
                        state: State::Skipped,
                        output: reason,
                    });
                    continue;
                }
            };
            let artifact = artifacts().of("sha256", &row.target);
            let ran = machine.call(Program::Run).line("run --allow-unsigned").arg(artifact).stdin("abc").run();
            let right = refused_for(&ran) == lacking.lacks && ran.code() == 1 && ran.stdout().is_empty();
            let state = if right { State::Passed } else { State::Failed };
            let output = if right { first_lines(&ran.stderr()) } else { ran.to_string() };
            lacks.push(Lack { target, cpu, lacks: lacking.lacks.clone(), state, output });
        }
    }
    proof::record("refusals", &lacks);
    let failed: Vec<_> = lacks.iter().filter(|lack| lack.state == State::Failed).collect();
    let shown = failed.iter().map(|lack| format!("{} on {}: {}", lack.target, lack.cpu, lack.output));
    assert!(failed.is_empty(), "{}", shown.collect::<Vec<_>>().join("\n"));
}

/// The extensions that a refusal names.
fn refused_for(ran: &Ran) -> BTreeSet<String> {
    let stderr = ran.stderr();
    let named = stderr.split("needs the extension `").skip(1);
    named.filter_map(|rest| Some(rest.split_once('`')?.0.to_owned())).collect()
}

fn first_lines(text: &str) -> String {
    let own = |line: &&str| !line.starts_with("qemu-");
    text.lines().filter(own).take(2).collect::<Vec<_>>().join("\n")
}

#[test]
fn without_the_check_the_process_dies_or_computes_a_wrong_result() {
    let foreign = Foreign::read();
    let mut ended = Vec::new();
    for row in wanted_rows() {
        let Some(control) = &row.control else { continue };
        let machines = (row.machine(&foreign), row.control_machine(&foreign, control));
        let ((Ok((able, _)), Ok(unable)), true) =
            (&machines, machines.1.as_ref().is_ok_and(|machine| machine.has(Program::Loader)))
        else {
            let reason = machines.1.err().unwrap_or_else(|| "the tests' loader is not built".to_owned());
            skip(&format!("without_the_check_the_process_dies_or_computes_a_wrong_result: {}", row.target), &reason);
            continue;
        };
        let right = call_control(able, &row, control);
        assert!(right.output.status.success() && right.stdout().contains("values"), "{}: {right}", row.target);
        let wrong = call_control(unable, &row, control);
        match control.ends {
            Ends::IllegalInstruction => assert_eq!(wrong.code(), 128 + SIGILL, "{}: {wrong}", row.target),
            Ends::WrongTrap => assert!(wrong.stdout().contains("{\"trap\""), "{}: {wrong}", row.target),
            Ends::WrongResult => {
                assert!(wrong.output.status.success(), "{}: {wrong}", row.target);
                assert_ne!(wrong.stdout(), right.stdout(), "{}: {wrong}", row.target);
            }
        }
        ended.push((row.target.clone(), control.cpu.clone(), format!("{:?}", control.ends)));
    }
    proof::record("controls", &ended);
}

/// The loader takes any artifact on any CPU.
fn call_control(machine: &Machine, row: &Row, control: &Control) -> Ran {
    let artifact = artifacts().of(&control.guest, &row.target);
    let arguments = serde_json::json!([{"i32": 7}, {"i32": 9}]);
    let script = serde_json::json!({"steps": [
        {"instantiate": {"artifact": artifact, "name": null}},
        {"invoke": {"instance": null, "function": "run", "arguments": arguments}},
    ]});
    machine.call(Program::Loader).arg("-").stdin(script.to_string()).run()
}
