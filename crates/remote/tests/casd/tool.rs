//! In: `tool_program.rs`. Out: the same as a statically linked program, and actions that run it.

use isomer_remote::{ActionBuilder, Blob, Input};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

/// Compiled once for all tests.
pub(crate) fn tool() -> Blob {
    static TOOL: OnceLock<Blob> = OnceLock::new();
    TOOL.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("tool");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/casd/tool_program.rs");
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let status = Command::new(rustc)
            .args(["--edition=2024", "-Ctarget-feature=+crt-static", "-Copt-level=1", "-Cstrip=symbols", "-o"])
            .args([&program, &source])
            .status()
            .unwrap();
        assert!(status.success(), "the tool can't be compiled");
        Blob::new(fs::read(program).unwrap())
    })
    .clone()
}

/// `./tools/tool LINE`, with one output if the line's last word is to be one.
pub(crate) fn action(line: &str, outputs: &[&str]) -> ActionBuilder {
    let mut action = ActionBuilder {
        arguments: std::iter::once("./tools/tool").chain(line.split(' ')).map(str::to_owned).collect(),
        outputs: outputs.iter().map(|&path| path.to_owned()).collect(),
        timeout: Duration::from_secs(20),
        ..ActionBuilder::default()
    };
    action.inputs.insert("tools/tool".to_owned(), Input { blob: tool(), executable: true });
    action
}

pub(crate) fn file(text: &str) -> Input {
    Input { blob: Blob::new(text.as_bytes()), executable: false }
}
