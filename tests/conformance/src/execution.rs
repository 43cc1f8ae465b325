//! Where artifacts run: on this machine, or in an emulator. Always in a process of their own.

use anyhow::{Result, ensure};
use isomer_testing::protocol::{Outcome, Script};
use isomer_tests::foreign::{Machine, Program};

/// Does there what the script says.
pub fn run(machine: &Machine, script: &Script) -> Result<Vec<Outcome>> {
    let ran = machine.call(Program::Loader).arg("-").stdin(serde_json::to_vec(script)?).run();
    ensure!(ran.output.status.success(), "{ran}");
    ran.stdout().lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}
