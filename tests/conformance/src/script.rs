//! In: a script and profiles. Out: for each whether the script passes: what is valid compiles, what is not is refused,
//! and what the loader says came out is what the script says must.

use crate::artifacts::{self, Artifacts, Made};
use crate::execution;
use crate::profiles::Profile;
use crate::suite::Script;
use crate::value::{argument, matches_const};
use anyhow::{Context, Result, bail, ensure};
use isomer_testing::protocol::{self, Outcome, Step};
use isomer_tests::foreign::Machine;
use json_from_wast::{Action, Command, Const, WasmFile, WasmFileType, Wast};
use std::collections::{BTreeMap, HashMap};

/// What components import from `host` as a module, and its file.
const SIMPLE_MODULE: &str =
    "(module (global (export \"g\") i32 (i32.const 100)) (func (export \"f\") (result i32) (i32.const 101)))";
const SIMPLE_MODULE_FILE: &str = "host-simple-module.wasm";

/// A script, taken apart and compiled for its profiles.
pub struct Compiled {
    /// Its commands, as a [`Wast`].
    json: String,
    artifacts: Artifacts,
    has_simple_module: bool,
}

/// Compiles the script for all profiles at once.
pub fn compile(script: &Script, profiles: &[Profile]) -> Result<Compiled> {
    let mut lexer = wast::lexer::Lexer::new(&script.text);
    lexer.allow_confusing_unicode(true);
    let buffer = wast::parser::ParseBuffer::new_with_lexer(lexer)?;
    let ast = wast::parser::parse::<wast::Wast<'_>>(&buffer)?;
    let wast = json_from_wast::Opts::default().convert(&script.name, &script.text, ast)?;
    let mut wanted = BTreeMap::new();
    collect(&wast.commands, &mut wanted);
    // The syntax tree borrows from this function; its JSON does not.
    let json = serde_json::to_string(&wast)?;
    let mut modules: BTreeMap<_, _> = wast.wasms.into_iter().filter(|(file, _)| wanted.contains_key(file)).collect();
    let has_simple_module = script.text.contains("simple-module");
    if has_simple_module {
        modules.insert(SIMPLE_MODULE_FILE.to_owned(), wat::parse_str(SIMPLE_MODULE)?);
    }
    Ok(Compiled { json, artifacts: artifacts::compile(&modules, profiles)?, has_simple_module })
}

impl Compiled {
    /// Whether it passes for one of the profiles; the number of its commands.
    pub fn run(&self, profile: &Profile, machine: &Machine) -> Result<usize> {
        let wast: Wast<'_> = serde_json::from_str(&self.json)?;
        let mut wanted = BTreeMap::new();
        collect(&wast.commands, &mut wanted);
        for (file, (refusal, line)) in &wanted {
            match (self.artifacts.of(file, profile), refusal) {
                (Made::Artifact(_), None) | (Made::Refused(_), Some(_)) => {}
                // What is valid and wasmtime does not implement, its own scripts call invalid.
                (Made::Failed(what), Some(refusal)) if what.contains(refusal.as_str()) => {}
                (Made::Refused(why), None) => bail!("line {line}: {file} is refused: {why}"),
                (Made::Artifact(_), Some(_)) => bail!("line {line}: {file} is compiled, and should be refused"),
                (Made::Failed(what), _) => bail!("line {line}: {file}: {what}"),
            }
        }
        let mut steps = Steps { artifacts: &self.artifacts, profile, definitions: HashMap::new() };
        let (steps, expected) = steps.of(&wast.commands)?;
        if !steps.is_empty() {
            let simple_module = self.has_simple_module.then(|| self.artifacts.path(SIMPLE_MODULE_FILE, profile));
            let outcomes = execution::run(machine, &protocol::Script { steps, simple_module })?;
            compare(&outcomes, &expected)?;
        }
        Ok(wast.commands.len())
    }
}

/// Commands become steps of the loader.
struct Steps<'a> {
    artifacts: &'a Artifacts,
    profile: &'a Profile,
    /// The file of each module that is defined and not instantiated.
    definitions: HashMap<Option<String>, String>,
}

/// What a step must come to, with the line that says so.
type Line<'a> = (u32, Expected<'a>);

impl Steps<'_> {
    fn of<'a>(&mut self, commands: &'a [Command<'a>]) -> Result<(Vec<Step>, Vec<Line<'a>>)> {
        let (mut steps, mut expected) = (Vec::new(), Vec::new());
        // What is expected of each thread that runs.
        let mut threads = HashMap::new();
        for command in commands {
            let line = command.line();
            let (step, what) = match command {
                Command::ModuleDefinition { name, file, .. } => {
                    self.definitions.insert(name.as_ref().map(ToString::to_string), file_name(file));
                    continue;
                }
                Command::Thread { name, shared_module, commands, .. } => {
                    let (steps, expected) = self.of(commands)?;
                    threads.insert(name.to_string(), expected);
                    let shared = shared_module.as_ref().map(ToString::to_string);
                    (Step::Thread { name: name.to_string(), shared, steps }, Expected::Done)
                }
                Command::Wait { thread, .. } => {
                    let of_thread =
                        threads.remove(&**thread).with_context(|| format!("line {line}: no such thread"))?;
                    (Step::Wait { thread: thread.to_string() }, Expected::Thread(of_thread))
                }
                other => match self.translate(other).with_context(|| format!("line {line}"))? {
                    Some(translated) => translated,
                    None => continue,
                },
            };
            steps.push(step);
            expected.push((line, what));
        }
        Ok((steps, expected))
    }

    /// None for what is about compiling alone.
    fn translate<'a>(&self, command: &'a Command<'a>) -> Result<Option<(Step, Expected<'a>)>> {
        let artifact = |file: &str| self.artifacts.path(file, self.profile);
        let instantiate = |file: &str, name: Option<String>| Step::Instantiate { artifact: artifact(file), name };
        Ok(Some(match command {
            Command::Module { name, file, .. } => {
                (instantiate(&file_name(file), name.as_ref().map(ToString::to_string)), Expected::Done)
            }
            Command::ModuleInstance { instance, module, .. } => {
                let module = module.as_ref().map(ToString::to_string);
                let file = self.definitions.get(&module).context("no such definition")?;
                (instantiate(file, instance.as_ref().map(ToString::to_string)), Expected::Done)
            }
            Command::Register { name, as_, .. } => {
                let instance = name.as_ref().map(ToString::to_string);
                (Step::Register { instance, name: as_.to_string() }, Expected::Done)
            }
            Command::Action { action, .. } => (step(action)?, Expected::Done),
            Command::AssertReturn { action, expected, .. } => (step(action)?, Expected::Values(expected)),
            Command::AssertTrap { action, text, .. } | Command::AssertExhaustion { action, text, .. } => {
                (step(action)?, Expected::Trap(text))
            }
            Command::AssertException { action, .. } => (step(action)?, Expected::Exception),
            Command::AssertSuspension { action, .. } => (step(action)?, Expected::Suspension),
            Command::AssertUninstantiable { file, text, .. } => {
                (instantiate(&file_name(file), None), Expected::Trap(text))
            }
            Command::AssertUnlinkable { file, text, .. } => {
                (instantiate(&file_name(file), None), Expected::Unlinkable(text))
            }
            Command::AssertInvalid { .. } | Command::AssertMalformed { .. } => return Ok(None),
            _ => bail!("the loader has no such step"),
        }))
    }
}

/// What a step must come to.
enum Expected<'a> {
    Values(&'a [Const<'a>]),
    Trap(&'a str),
    Exception,
    /// A continuation that nothing takes.
    Suspension,
    /// An import that does not fit, or, before bulk memory, a segment.
    Unlinkable(&'a str),
    /// Each step of a thread.
    Thread(Vec<Line<'a>>),
    /// Anything but an error.
    Done,
}

fn compare(outcomes: &[Outcome], expected: &[Line<'_>]) -> Result<()> {
    ensure!(outcomes.len() == expected.len(), "{} of {} steps were made", outcomes.len(), expected.len());
    for (outcome, (line, expected)) in outcomes.iter().zip(expected) {
        match (outcome, expected) {
            (Outcome::Thread(outcomes), Expected::Thread(expected)) => compare(outcomes, expected)?,
            _ if meets(outcome, expected) => {}
            _ => bail!("line {line}: {outcome:?}"),
        }
    }
    Ok(())
}

/// The file of each module, with what a refusal of it says or none if it is to be compiled, and the line that says so.
fn collect(commands: &[Command<'_>], wanted: &mut BTreeMap<String, (Option<String>, u32)>) {
    for command in commands {
        match command {
            Command::Module { file, line, .. }
            | Command::ModuleDefinition { file, line, .. }
            | Command::AssertUnlinkable { file, line, .. }
            | Command::AssertUninstantiable { file, line, .. } => {
                wanted.insert(file_name(file), (None, *line));
            }
            Command::AssertInvalid { file, line, text } | Command::AssertMalformed { file, line, text } => {
                wanted.insert(file_name(file), (Some(text.to_string()), *line));
            }
            Command::Thread { commands, .. } => collect(commands, wanted),
            _ => {}
        }
    }
}

/// The file that holds the module.
fn file_name(file: &WasmFile<'_>) -> String {
    match (file.module_type, &file.binary_filename) {
        (WasmFileType::Text, Some(binary)) => binary.to_string(),
        _ => file.filename.to_string(),
    }
}

fn step(action: &Action<'_>) -> Result<Step> {
    Ok(match action {
        Action::Invoke { module, field, args } => Step::Invoke {
            instance: module.as_ref().map(ToString::to_string),
            function: field.to_string(),
            arguments: args.iter().map(argument).collect::<Result<_>>()?,
        },
        Action::Get { module, field } => {
            Step::Get { instance: module.as_ref().map(ToString::to_string), global: field.to_string() }
        }
    })
}

fn meets(outcome: &Outcome, expected: &Expected<'_>) -> bool {
    match (outcome, expected) {
        (Outcome::Values(values), Expected::Values(wanted)) => {
            values.len() == wanted.len()
                && values.iter().zip(*wanted).all(|(value, wanted)| matches_const(value, wanted))
        }
        // The component model's traps are errors to wasmtime's users.
        (Outcome::Trap(trap) | Outcome::Error(trap), Expected::Trap(wanted)) => traps_alike(trap, wanted),
        (Outcome::Trap(trap), Expected::Suspension) => trap.contains("unhandled tag"),
        (Outcome::Trap(trap), Expected::Unlinkable(wanted)) => traps_alike(trap, wanted),
        (Outcome::Exception, Expected::Trap(wanted)) => *wanted == "thrown Wasm exception",
        (Outcome::Exception, Expected::Exception) | (Outcome::Error(_), Expected::Unlinkable(_)) => true,
        (outcome, Expected::Done) => !matches!(outcome, Outcome::Error(_)),
        _ => false,
    }
}

/// wasmtime words some traps otherwise than the specification's scripts, as its own runner of them knows.
fn traps_alike(trap: &str, wanted: &str) -> bool {
    let other_words = [
        ("uninitialized element", "uninitialized element"),
        ("null", "null reference"),
        ("cannot read", "cannot read"),
        ("cannot write", "cannot write"),
    ];
    trap.contains(wanted) || other_words.iter().any(|(theirs, ours)| wanted.contains(theirs) && trap.contains(ours))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trap_is_not_every_trap() {
        assert!(!meets(&Outcome::Trap("unreachable".to_owned()), &Expected::Trap("integer divide by zero")));
        assert!(!meets(&Outcome::Error("unknown handle index 1".to_owned()), &Expected::Trap("cannot leave")));
        assert!(!meets(&Outcome::Values(vec![protocol::Value::I32(1)]), &Expected::Values(&[])));
        let expected = [(3, Expected::Thread(vec![(4, Expected::Exception)]))];
        assert!(compare(&[Outcome::Thread(vec![Outcome::Exception])], &expected).is_ok());
        let error = compare(&[Outcome::Thread(vec![Outcome::Values(Vec::new())])], &expected).unwrap_err();
        assert!(error.to_string().starts_with("line 4"), "{error}");
    }
}
