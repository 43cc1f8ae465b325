//! Modules that are hard to compile, turn by turn with `wasmtime compile` under the same flags. What the corpus does not
//! show: how time and memory grow in the size of one function, one table or one module.

use super::Bench;
use super::watch::{Watched, watch};
use crate::guests;
use anyhow::{Result, ensure};
use isomer_testing::pathological;
use std::fs;
use std::process::{Command, Stdio};

/// How often each module is compiled; the shortest time counts.
const RUNS: usize = 2;

const TARGET: &str = "x86-64-v3";

impl Bench {
    pub(super) fn pathological(&self) -> Result<()> {
        println!("\nmodules that are hard to compile, for {TARGET}, the shorter of {RUNS} runs\n");
        println!("{:<16} {:>8} {:>17} {:>17} {:>7} {:>7}", "module", "size", "isomer", "wasmtime", "time", "memory");
        let flags = self.flags(TARGET)?;
        guests::assemble_pathological(&self.directory)?;
        let names: Vec<_> = pathological::modules(1).into_iter().map(|module| module.name).collect();
        for name in names {
            let input = self.directory.join(name).with_extension("wasm");
            let output = self.directory.join("pathological.cwasm");
            let (mut here, mut there) = (Vec::new(), Vec::new());
            for _ in 0..RUNS {
                let mut isomer = self.isomer();
                isomer.arg("compile").arg(&input).args(["-t", TARGET, "--no-cache", "-o"]).arg(&output);
                here.push(took(&mut isomer)?);
                let mut upstream = Command::new(&self.upstream);
                upstream.arg("compile").args(&flags).arg(&input).arg("-o").arg(&output);
                there.push(took(&mut upstream)?);
            }
            let [here, there] = [here, there].map(|runs| runs.into_iter().min_by_key(|run| run.wall).expect("runs"));
            let shown =
                |run: &Watched| format!("{:.2} s {:.0} MB", run.wall.as_secs_f64(), run.peak_bytes as f64 / 1e6);
            let size = format!("{:.1} MB", fs::metadata(&input)?.len() as f64 / 1e6);
            let time = here.wall.as_secs_f64() / there.wall.as_secs_f64();
            let memory = here.peak_bytes as f64 / there.peak_bytes as f64;
            let (isomer, upstream) = (shown(&here), shown(&there));
            println!("{name:<16} {size:>8} {isomer:>17} {upstream:>17} {time:>7.2} {memory:>7.2}");
        }
        Ok(())
    }
}

fn took(command: &mut Command) -> Result<Watched> {
    let took = watch(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))?;
    ensure!(took.status.success(), "{command:?} ended with {}", took.status);
    Ok(took)
}
