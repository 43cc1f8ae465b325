//! Every operator with the result of every other as an operand: finds the combinations that `fused.rs` should have.

use super::samples::Sample;
use super::{PLAIN, shipped_steps};
use crate::predict::ingredients::Ingredients;
use crate::predict::table;
use isomer_contract::Arch;
use isomer_testing::operators::simple::{self, Instruction};

/// A module for each operator that takes something: it, fed by all others.
fn samples(chosen: &dyn Fn(&Instruction) -> bool) -> Vec<Sample> {
    let instructions: Vec<_> = simple::instructions().into_iter().filter(|of| !of.text.contains("atomic")).collect();
    let fed = |outer: &Instruction| {
        let mut functions = String::new();
        for position in 0..outer.operands.len() {
            let fits = |inner: &&Instruction| inner.results == [outer.operands[position]];
            instructions.iter().filter(fits).for_each(|inner| functions += &function(outer, position, inner));
        }
        Sample::new(outer.name, format!("(module (memory 1) {functions})"))
    };
    let takes = |of: &&Instruction| !of.operands.is_empty() && chosen(of);
    instructions.iter().filter(takes).map(fed).collect()
}

/// `outer` with the result of `inner` for the operand at `position`, and parameters for the others.
fn function(outer: &Instruction, position: usize, inner: &Instruction) -> String {
    let mut parameters: Vec<&str> = Vec::new();
    let mut body = String::new();
    for (index, of) in outer.operands.iter().enumerate() {
        let operands = if index == position { inner.operands.clone() } else { vec![*of] };
        for operand in operands {
            body += &format!("local.get {} ", parameters.len());
            parameters.push(operand);
        }
        if index == position {
            body += &format!("{} ", inner.text);
        }
    }
    format!("(func (param {}) (result {}) {body} {})\n", parameters.join(" "), outer.results.join(" "), outer.text)
}

#[test]
#[ignore = "compiles a hundred thousand functions for each step between shipped profiles"]
fn no_pair_of_operators_is_missing() {
    let names = std::env::var("ISOMER_ARCHITECTURES").unwrap_or_default();
    let chosen = |arch: &Arch| names.is_empty() || names.split(',').any(|name| name == arch.name());
    let samples = samples(&|_| true);
    let count: usize = samples.iter().map(|sample| sample.functions.len()).sum();
    println!("{count} functions in {} modules", samples.len());
    let mut missing = Vec::new();
    let measured = Arch::ALL.into_iter().filter(chosen).flat_map(|arch| {
        let steps = shipped_steps(PLAIN).into_iter().filter(|step| step.arch == arch).collect();
        super::measure(&steps, &samples)
    });
    for ((arch, extension), affected) in measured {
        let row = table::row(arch, extension).unwrap();
        let unexplained = |of: &Ingredients| !row.affects.iter().any(|known| of.includes(known));
        missing.extend(affected.into_iter().filter(unexplained).map(|of| format!("{arch} {extension}: {of}")));
    }
    assert!(missing.is_empty(), "fused.rs lacks {} combinations:\n{}", missing.len(), missing.join("\n"));
}
