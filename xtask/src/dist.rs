//! `cargo xtask dist`: statically linked programs in `target/dist`: `isomer` for workers with another libc or none, and
//! `isomer-run`, which starts faster so.

use anyhow::{Context, Result, ensure};
use isomer_testing::shell::{cargo, read, run};
use isomer_testing::{has_program, root};
use std::env::consts::ARCH;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) fn build() -> Result<()> {
    let isomer = build_isomer()?;
    let isomer_run = build_isomer_run()?;
    for program in [&isomer, &isomer_run] {
        println!("{}: {}", program.display(), read(Command::new(program).arg("--version"))?.trim());
    }
    println!("for workers: isomer release --remote-exec URL --remote-tool {}", isomer.display());
    Ok(())
}

/// With glibc, whose allocator compiles modules fast.
fn build_isomer() -> Result<PathBuf> {
    // Named, even where it is the host's own: build scripts and macros are not linked like the program then.
    let target = format!("{ARCH}-unknown-linux-gnu");
    build_static("isomer", &target, Some("-C target-feature=+crt-static"), None)
}

/// With musl: on x86-64, glibc executes CPUID dozens of times at the start of a process, and each takes a virtual machine
/// some 30 µs.
fn build_isomer_run() -> Result<PathBuf> {
    let target = format!("{ARCH}-unknown-linux-musl");
    let libraries = read(Command::new("rustc").args(["--print", "target-libdir", "--target", &target]))?;
    ensure!(
        Path::new(libraries.trim()).is_dir(),
        "there is no Rust standard library for {target}: `rustup target add {target}`"
    );
    let compiler = format!("{ARCH}-linux-musl-gcc");
    ensure!(
        has_program(&compiler) || has_program("musl-gcc"),
        "there is neither {compiler} nor musl-gcc: `apt install musl-tools`, for example"
    );
    build_static("isomer-run", &target, None, Some(COPIES_IN_PLACE).filter(|option| is_known(option)))
}

/// Copies of up to 256 bytes, where the size is known, need no call: musl's `memcpy` takes 40 ns for what takes 4 with these
/// instructions, and a request has dozens of them. Only the program itself is compiled so: with LTO, it is all of the code.
const COPIES_IN_PLACE: &str = "-Cllvm-args=-max-store-memcpy=16";

/// Whether this compiler has the option. LLVM has it since version 22, and Rust may be built with an older one.
fn is_known(option: &str) -> bool {
    Command::new("rustc").args([option, "--print", "cfg"]).output().is_ok_and(|output| output.status.success())
}

/// `flags` are for all code of the target, `option` is for the program itself.
fn build_static(package: &str, target: &str, flags: Option<&str>, option: Option<&str>) -> Result<PathBuf> {
    let mut cargo = cargo();
    cargo.args(["rustc", "--profile", "release-lto", "--locked", "--package", package, "--bin", package]);
    cargo.args(["--target", target]);
    if let Some(flags) = flags {
        cargo.env("RUSTFLAGS", flags);
    }
    if let Some(option) = option {
        cargo.args(["--", option]);
    }
    run(&mut cargo)?;
    let directory = root().join("target/dist");
    fs::create_dir_all(&directory)?;
    let program = directory.join(package);
    fs::copy(root().join("target").join(target).join("release-lto").join(package), &program)
        .with_context(|| format!("could not write {}", program.display()))?;
    ensure!(!wants_interpreter(&fs::read(&program)?), "{} wants a dynamic linker", program.display());
    Ok(program)
}

/// Whether a 64-bit ELF file of this machine's byte order has a program header `PT_INTERP`.
fn wants_interpreter(elf: &[u8]) -> bool {
    const PT_INTERP: u32 = 3;
    let half = |at: usize| usize::from(u16::from_ne_bytes([elf[at], elf[at + 1]]));
    let headers = u64::from_ne_bytes(elf[0x20..0x28].try_into().expect("eight bytes")) as usize;
    let (size, count) = (half(0x36), half(0x38));
    (0..count).map(|index| headers + index * size).any(|at| elf[at..at + 4] == PT_INTERP.to_ne_bytes())
}
