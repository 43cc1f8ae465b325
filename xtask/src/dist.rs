//! `cargo xtask dist`: a statically linked `isomer`, for workers with another libc or none, in `target/dist`.

use crate::shell::{read, root, run};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::process::Command;

pub(crate) fn build() -> Result<()> {
    // Named, even where it is the host's own: build scripts and macros are not linked like the program then.
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--release", "--locked", "--package", "isomer", "--target", &target]);
    run(cargo.env("RUSTFLAGS", "-C target-feature=+crt-static").current_dir(root()))?;
    let directory = root().join("target/dist");
    fs::create_dir_all(&directory)?;
    let program = directory.join("isomer");
    fs::copy(root().join("target").join(target).join("release/isomer"), &program)
        .with_context(|| format!("could not write {}", program.display()))?;
    ensure!(!wants_interpreter(&fs::read(&program)?), "{} wants a dynamic linker", program.display());
    println!("{}: {}", program.display(), read(Command::new(&program).arg("--version"))?.trim());
    println!("for workers: isomer release --remote-exec URL --remote-tool {}", program.display());
    Ok(())
}

/// Whether a 64-bit ELF file of this machine's byte order has a program header `PT_INTERP`.
fn wants_interpreter(elf: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let half = |at: usize| usize::from(u16::from_ne_bytes([elf[at], elf[at + 1]]));
    let headers = u64::from_ne_bytes(elf[0x20..0x28].try_into().expect("eight bytes")) as usize;
    let (size, count) = (half(0x36), half(0x38));
    (0..count).map(|index| headers + index * size).any(|at| elf[at..at + 4] == PT_INTERP.to_ne_bytes())
}
