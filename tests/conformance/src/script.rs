//! In: a script and profiles. Out: for each whether the script passes: what is valid compiles, what is not is refused,
//! and what the loader says came out is what the script says must.

use crate::artifacts::{self, Artifacts, Made};
use crate::place;
use crate::profiles::Profile;
use crate::suite::Script;
use anyhow::{Result, bail, ensure};
use isomer_testing::protocol::{self, Outcome, Step, Value};
use isomer_tests::foreign::Machine;
use json_from_wast::{
    Action, AnyRef, Command, Const, CoreConst, ExternRef, FloatConst, FuncRef, V128, WasmFile, WasmFileType, Wast,
};
use std::collections::BTreeMap;

/// A script, taken apart and compiled for its profiles.
pub struct Compiled {
    /// Its commands, as a [`Wast`].
    json: String,
    artifacts: Artifacts,
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
    let modules = wast.wasms.into_iter().filter(|(file, _)| wanted.contains_key(file)).collect();
    Ok(Compiled { json, artifacts: artifacts::compile(&modules, profiles)? })
}

impl Compiled {
    /// Whether it passes for one of the profiles; the number of its commands.
    pub fn run(&self, profile: &Profile, machine: &Machine) -> Result<usize> {
        let wast: Wast<'_> = serde_json::from_str(&self.json)?;
        let mut wanted = BTreeMap::new();
        collect(&wast.commands, &mut wanted);
        for (file, (valid, line)) in &wanted {
            match (self.artifacts.of(file, profile), valid) {
                (Made::Artifact(_), true) | (Made::Refused(_), false) => {}
                (Made::Refused(why), true) => bail!("line {line}: {file} is refused: {why}"),
                (Made::Artifact(_), false) => bail!("line {line}: {file} is compiled, and should be refused"),
                (Made::Failed(what), _) => bail!("line {line}: {file}: {what}"),
            }
        }
        let mut steps = Vec::new();
        let mut expected = Vec::new();
        let mut definitions = BTreeMap::new();
        for command in &wast.commands {
            if let Command::ModuleDefinition { name, file, .. } = command {
                definitions.insert(name.as_deref(), file);
            }
            if let Command::ModuleInstance { instance, module, line } = command {
                let Some(file) = definitions.get(&module.as_deref()) else { bail!("line {line}: no such definition") };
                let artifact = self.artifacts.path(&file_name(file), profile);
                let name = instance.as_ref().map(ToString::to_string);
                steps.push(Step::Instantiate { artifact, name });
                expected.push((*line, Expected::Done));
                continue;
            }
            if let Some((step, what)) = self.translate(command, profile)? {
                steps.push(step);
                expected.push((command.line(), what));
            }
        }
        if !steps.is_empty() {
            let outcomes = place::run(machine, &protocol::Script { steps })?;
            ensure!(outcomes.len() == expected.len(), "{} of {} steps were made", outcomes.len(), expected.len());
            for (outcome, (line, expected)) in outcomes.iter().zip(&expected) {
                if !meets(outcome, expected) {
                    bail!("line {line}: {outcome:?}");
                }
            }
        }
        Ok(wast.commands.len())
    }

    /// None for what is about compiling alone.
    fn translate<'a>(&self, command: &'a Command<'_>, profile: &Profile) -> Result<Option<(Step, Expected<'a>)>> {
        let artifact = |file| self.artifacts.path(&file_name(file), profile);
        Ok(Some(match command {
            Command::Module { name, file, .. } => {
                let name = name.as_ref().map(ToString::to_string);
                (Step::Instantiate { artifact: artifact(file), name }, Expected::Done)
            }
            Command::Register { name, as_, .. } => {
                let instance = name.as_ref().map(ToString::to_string);
                (Step::Register { instance, name: as_.to_string() }, Expected::Done)
            }
            Command::Action { action, .. } => (step(action)?, Expected::Done),
            Command::AssertReturn { action, expected, .. } => {
                let core = expected.iter().map(|value| match value {
                    Const::Core(value) => Ok(value),
                    Const::Component(_) => bail!("a component's value"),
                });
                (step(action)?, Expected::Values(core.collect::<Result<_>>()?))
            }
            Command::AssertTrap { action, text, .. } | Command::AssertExhaustion { action, text, .. } => {
                (step(action)?, Expected::Trap(text))
            }
            Command::AssertException { action, .. } => (step(action)?, Expected::Exception),
            Command::AssertUninstantiable { file, text, .. } => {
                (Step::Instantiate { artifact: artifact(file), name: None }, Expected::Trap(text))
            }
            Command::AssertUnlinkable { file, .. } => {
                (Step::Instantiate { artifact: artifact(file), name: None }, Expected::Error)
            }
            Command::ModuleDefinition { .. } | Command::AssertInvalid { .. } | Command::AssertMalformed { .. } => {
                return Ok(None);
            }
            other => bail!("line {}: the loader has no such step", other.line()),
        }))
    }
}

/// What a step must come to.
enum Expected<'a> {
    Values(Vec<&'a CoreConst>),
    Trap(&'a str),
    Exception,
    /// An import that does not fit.
    Error,
    /// Anything but an error.
    Done,
}

/// The file of each module, whether it is to be compiled or refused, and the line that says so.
fn collect(commands: &[Command<'_>], wanted: &mut BTreeMap<String, (bool, u32)>) {
    for command in commands {
        match command {
            Command::Module { file, line, .. }
            | Command::ModuleDefinition { file, line, .. }
            | Command::AssertUnlinkable { file, line, .. }
            | Command::AssertUninstantiable { file, line, .. } => {
                wanted.insert(file_name(file), (true, *line));
            }
            Command::AssertInvalid { file, line, .. } | Command::AssertMalformed { file, line, .. } => {
                wanted.insert(file_name(file), (false, *line));
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

fn argument(value: &Const<'_>) -> Result<Value> {
    let null = |hierarchy: &str| Ok(Value::Null(hierarchy.to_owned()));
    let Const::Core(value) = value else { bail!("a component's value") };
    match value {
        CoreConst::I32 { value } => Ok(Value::I32(value.0)),
        CoreConst::I64 { value } => Ok(Value::I64(value.0)),
        CoreConst::F32 { value } => Ok(Value::F32(value.to_bits())),
        CoreConst::F64 { value } => Ok(Value::F64(value.to_bits())),
        CoreConst::V128(value) => Ok(Value::V128(format!("{:032x}", value.to_u128()))),
        CoreConst::FuncRef { value: Some(FuncRef::Null) } | CoreConst::NullFuncRef => null("func"),
        CoreConst::ExternRef { value: Some(ExternRef::Null) } | CoreConst::NullExternRef => null("extern"),
        CoreConst::ExternRef { value: Some(ExternRef::Host(number)) } => Ok(Value::Extern(number.0)),
        CoreConst::AnyRef { value: Some(AnyRef::Null) } | CoreConst::NullRef => null("any"),
        CoreConst::AnyRef { value: Some(AnyRef::Host(number)) } => Ok(Value::Host(number.0)),
        other => bail!("{other:?} as an argument"),
    }
}

fn meets(outcome: &Outcome, expected: &Expected<'_>) -> bool {
    match (outcome, expected) {
        (Outcome::Values(values), Expected::Values(wanted)) => {
            values.len() == wanted.len() && values.iter().zip(wanted).all(|(value, wanted)| matches(value, wanted))
        }
        (Outcome::Trap(trap), Expected::Trap(wanted)) => traps_alike(trap, wanted),
        (Outcome::Exception, Expected::Exception) | (Outcome::Error(_), Expected::Error) => true,
        (outcome, Expected::Done) => !matches!(outcome, Outcome::Error(_)),
        _ => false,
    }
}

/// wasmtime words some traps otherwise than the specification's scripts, as its own runner of them knows.
fn traps_alike(trap: &str, wanted: &str) -> bool {
    let other_words = [("uninitialized element", "uninitialized element"), ("null", "null reference")];
    trap.contains(wanted) || other_words.iter().any(|(theirs, ours)| wanted.contains(theirs) && trap.contains(ours))
}

fn matches(value: &Value, wanted: &CoreConst) -> bool {
    match (value, wanted) {
        (_, CoreConst::Either { values }) => values.iter().any(|wanted| matches(value, wanted)),
        (Value::I32(found), CoreConst::I32 { value }) => *found == value.0,
        (Value::I64(found), CoreConst::I64 { value }) => *found == value.0,
        (Value::F32(found), CoreConst::F32 { value }) => float32(*found, value),
        (Value::F64(found), CoreConst::F64 { value }) => float64(*found, value),
        (Value::V128(found), CoreConst::V128(wanted)) => vector(found, wanted),
        (Value::Null(_), CoreConst::RefNull) => true,
        (Value::Null(found), wanted) => Some(found.as_str()) == null(wanted),
        (Value::Extern(found), CoreConst::ExternRef { value: Some(ExternRef::Host(number)) })
        | (Value::Host(found), CoreConst::AnyRef { value: Some(AnyRef::Host(number)) }) => *found == number.0,
        (Value::Extern(_), CoreConst::ExternRef { value: None })
        | (Value::Host(_), CoreConst::AnyRef { value: None }) => true,
        (Value::Reference(found), wanted) => reference(found, wanted),
        _ => false,
    }
}

fn null(wanted: &CoreConst) -> Option<&'static str> {
    match wanted {
        CoreConst::FuncRef { value: Some(FuncRef::Null) } | CoreConst::NullFuncRef => Some("func"),
        CoreConst::ExternRef { value: Some(ExternRef::Null) } | CoreConst::NullExternRef => Some("extern"),
        CoreConst::AnyRef { value: Some(AnyRef::Null) } | CoreConst::NullRef => Some("any"),
        CoreConst::ExnRef { .. } | CoreConst::NullExnRef => Some("exn"),
        _ => None,
    }
}

fn reference(found: &str, wanted: &CoreConst) -> bool {
    match wanted {
        CoreConst::FuncRef { value: None | Some(FuncRef::Index(_)) } => found == "func",
        CoreConst::ExternRef { value: None } => found == "extern",
        CoreConst::StructRef => found == "struct",
        CoreConst::ArrayRef => found == "array",
        CoreConst::I31Ref => found == "i31",
        CoreConst::EqRef => ["struct", "array", "i31"].contains(&found),
        CoreConst::AnyRef { value: None } => ["struct", "array", "i31", "any"].contains(&found),
        _ => false,
    }
}

fn float32(found: u32, wanted: &FloatConst<f32>) -> bool {
    match wanted {
        FloatConst::CanonicalNan => found & 0x7fff_ffff == 0x7fc0_0000,
        FloatConst::ArithmeticNan => found & 0x7fc0_0000 == 0x7fc0_0000,
        FloatConst::Value(value) => found == value.to_bits(),
    }
}

fn float64(found: u64, wanted: &FloatConst<f64>) -> bool {
    match wanted {
        FloatConst::CanonicalNan => found & 0x7fff_ffff_ffff_ffff == 0x7ff8_0000_0000_0000,
        FloatConst::ArithmeticNan => found & 0x7ff8_0000_0000_0000 == 0x7ff8_0000_0000_0000,
        FloatConst::Value(value) => found == value.to_bits(),
    }
}

fn vector(found: &str, wanted: &V128) -> bool {
    let Ok(bits) = u128::from_str_radix(found, 16) else { return false };
    match wanted {
        V128::F32 { value } => (0..4).all(|lane| float32((bits >> (32 * lane)) as u32, &value[lane])),
        V128::F64 { value } => (0..2).all(|lane| float64((bits >> (64 * lane)) as u64, &value[lane])),
        integers => bits == integers.to_u128(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_not_every_value() {
        assert!(float32(0xffc0_0000, &FloatConst::CanonicalNan) && !float32(0x7fc0_0001, &FloatConst::CanonicalNan));
        assert!(float32(0x7fc0_0001, &FloatConst::ArithmeticNan) && !float32(0x7f80_0001, &FloatConst::ArithmeticNan));
        assert!(!float64(0x8000_0000_0000_0000, &FloatConst::Value(0.0)));
        assert!(!matches(&Value::Null("extern".to_owned()), &CoreConst::NullFuncRef));
        assert!(!meets(&Outcome::Trap("unreachable".to_owned()), &Expected::Trap("integer divide by zero")));
        assert!(!meets(&Outcome::Values(vec![Value::I32(1)]), &Expected::Values(Vec::new())));
    }
}
