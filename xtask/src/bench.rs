//! `cargo xtask bench`: isomer against upstream's `wasmtime`, as ratios from one run on one machine. Never a test: the
//! numbers of a busy machine say nothing alone, and their ratio says something.

use crate::shell::{root, tools};
use crate::{corpus, release, setup};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to measure
    #[arg(value_parser = ["start", "compile", "all"], default_value = "start")]
    what: String,
    /// How often each start is measured
    #[arg(long, default_value_t = 40)]
    runs: usize,
    /// Modules of the corpus for `compile` [default: those that are not heavy]
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    for package in ["isomer-compile", "isomer-run"] {
        release::build(package)?;
    }
    let bench = Bench { upstream: setup::wasmtime()?, directory: tools().join("bench") };
    let _ = fs::remove_dir_all(&bench.directory);
    fs::create_dir_all(&bench.directory)?;
    if args.what != "compile" {
        bench.start(args.runs)?;
    }
    if args.what != "start" {
        bench.compile(&args.names)?;
    }
    fs::remove_dir_all(&bench.directory)?;
    Ok(())
}

struct Bench {
    upstream: PathBuf,
    directory: PathBuf,
}

fn binary(name: &str) -> PathBuf {
    root().join("target/release").join(name)
}

impl Bench {
    /// The whole process, from exec to exit, verified here and unverified there.
    fn start(&self, runs: usize) -> Result<()> {
        println!("start of a process, median of {runs} runs, against `wasmtime run --allow-precompiled`\n");
        println!("{:<34} {:>9} {:>9} {:>9} {:>7}", "artifact", "size", "isomer", "wasmtime", "ratio");
        let small = root().join("tests/guests/sha256.wasm");
        self.start_of("small", &small, &[], runs)?;
        // Commands of real size, 26 and 220 MB when compiled, that do next to nothing: the time is loading.
        for (label, name) in [("medium", "python-wasi"), ("large", "yosys")] {
            match corpus::fetch(&[name.to_owned()]) {
                Ok(wasm) => self.start_of(label, &wasm[0], &["--version"], runs.div_ceil(4))?,
                Err(error) => println!("{label}: skipped, {name} could not be fetched: {error:#}"),
            }
        }
        Ok(())
    }

    fn start_of(&self, label: &str, wasm: &Path, guest_args: &[&str], runs: usize) -> Result<()> {
        let artifact = self.directory.join(format!("{label}.cwasm"));
        crate::shell::run(
            Command::new(binary("isomer"))
                .arg("compile")
                .arg(wasm)
                .args(["-t", "x86-64-v2", "--no-cache", "-o"])
                .arg(&artifact)
                .stdout(Stdio::null()),
        )?;
        let digest = format!("sha256:{}", hex::encode(<sha2::Sha256 as sha2::Digest>::digest(fs::read(&artifact)?)));
        let size = format!("{:.1} MB", fs::metadata(&artifact)?.len() as f64 / 1e6);
        let upstream = || {
            let mut command = Command::new(&self.upstream);
            command.args(["run", "--allow-precompiled"]).arg(&artifact).args(guest_args);
            command
        };
        let mut ways: Vec<(String, Box<dyn Fn() -> Command>)> = vec![(
            format!("{label}, file, --digest"),
            Box::new({
                let (artifact, digest, guest) =
                    (artifact.clone(), digest, guest_args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>());
                move || {
                    let mut command = Command::new(binary("isomer-run"));
                    command.arg("run").arg(&artifact).args(["--digest", &digest, "--"]).args(&guest);
                    command
                }
            }),
        )];
        for compression in ["none", "zstd"] {
            let layout = self.layout(label, wasm, compression)?;
            let guest: Vec<_> = guest_args.iter().map(|arg| (*arg).to_owned()).collect();
            ways.push((
                format!("{label}, layout, {compression}"),
                Box::new(move || {
                    let mut command = Command::new(binary("isomer-run"));
                    command.arg("run").arg(&layout).args(["module", "--allow-unsigned", "--"]).args(&guest);
                    command
                }),
            ));
        }
        let places = self.stores(label, wasm)?;
        for (name, store) in &places {
            let guest: Vec<_> = guest_args.iter().map(|arg| (*arg).to_owned()).collect();
            let store = store.path().to_owned();
            ways.push((
                format!("{label}, installed, {name}"),
                Box::new(move || {
                    let mut command = Command::new(binary("isomer-run"));
                    command.arg("run").arg("--store").arg(&store).args(["module", "--"]).args(&guest);
                    command
                }),
            ));
        }
        for (name, ours) in ways {
            let (mut here, mut there) = (Vec::new(), Vec::new());
            // Turn by turn, so that whatever else the machine does falls on both.
            for _ in 0..runs {
                here.push(timed(&mut ours())?);
                there.push(timed(&mut upstream())?);
            }
            let (here, there) = (median(here), median(there));
            println!(
                "{name:<34} {size:>9} {:>6.2} ms {:>6.2} ms {:>7.2}",
                millis(here),
                millis(there),
                here.as_secs_f64() / there.as_secs_f64()
            );
        }
        Ok(())
    }

    /// Two stores with the module: one where nobody can change it, which takes root and a path of root's, and one where
    /// its group can, so that it is hashed each time.
    fn stores(&self, label: &str, wasm: &Path) -> Result<Vec<(&'static str, tempfile::TempDir)>> {
        let layout = self.layout(label, wasm, "zstd")?;
        let mut places = vec![("unprotected", tempfile::tempdir_in(&self.directory)?)];
        match tempfile::Builder::new().prefix("isomer-bench-").tempdir_in("/var/lib") {
            Ok(place) => places.push(("protected", place)),
            Err(error) => println!("{label}, installed, protected: skipped, it takes root: {error}"),
        }
        for (name, place) in &places {
            let mut pull = Command::new(binary("isomer-run"));
            pull.arg("pull").arg(format!("oci-dir:{}", layout.display())).args(["--allow-unsigned", "--activate"]);
            crate::shell::run(pull.arg("--store").arg(place.path()).stdout(Stdio::null()))?;
            if *name == "unprotected" {
                let artifacts = place.path().join("artifacts");
                fs::set_permissions(artifacts, std::os::unix::fs::PermissionsExt::from_mode(0o775))?;
            }
            let mut explain = Command::new(binary("isomer-run"));
            explain.args(["run", "--explain", "--store"]).arg(place.path()).args(["module", "--", "--version"]);
            let explained = explain.stdin(Stdio::null()).output()?.stderr;
            let mapped = String::from_utf8_lossy(&explained).contains("is mapped from the store");
            ensure!(mapped == (*name == "protected"), "{name}: {}", String::from_utf8_lossy(&explained));
        }
        Ok(places)
    }

    fn layout(&self, label: &str, wasm: &Path, compression: &str) -> Result<PathBuf> {
        let manifest = self.directory.join(format!("{label}-{compression}.toml"));
        let output = self.directory.join(format!("{label}-{compression}"));
        let text = format!(
            "[release]\nname = 'bench'\nversion = '1'\ntargets = ['x86-64-v2']\n[[module]]\nname = 'module'\npath = '{}'\n",
            wasm.display()
        );
        fs::write(&manifest, text)?;
        let mut command = Command::new(binary("isomer"));
        command.arg("release").arg("-f").arg(manifest).arg("-o").arg(&output).args([
            "--no-cache",
            "--compression",
            compression,
        ]);
        crate::shell::run(command.stdout(Stdio::null()))?;
        Ok(output)
    }

    /// Every module for every target: one call here, one call a cell there, two at a time.
    fn compile(&self, names: &[String]) -> Result<()> {
        let modules = corpus::fetch(names)?;
        let output = self.directory.join("cells");
        let mut command = Command::new(binary("isomer"));
        command
            .arg("compile")
            .args(&modules)
            .args(["-t", "all", "--no-cache", "--json", "--out-dir"])
            .arg(&output)
            .stderr(Stdio::null());
        let json = self.directory.join("cells.json");
        command.stdout(fs::File::create(&json)?);
        let begun = Instant::now();
        let memory = wait(command.spawn().context("could not start isomer")?)?;
        let here = begun.elapsed();
        let cells: Vec<serde_json::Value> = serde_json::from_slice(&fs::read(&json)?)?;
        let cells: Vec<_> = cells.iter().filter(|cell| cell["status"] == "compiled").collect();
        ensure!(!cells.is_empty(), "isomer compiled nothing");

        let mut flags: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut calls = Vec::new();
        for cell in &cells {
            let target = cell["target"].as_str().context("a cell has a target")?.to_owned();
            if !flags.contains_key(&target) {
                flags.insert(target.clone(), upstream_flags(&target)?);
            }
            calls.push((cell["input"].as_str().context("a cell has an input")?.to_owned(), flags[&target].clone()));
        }
        let begun = Instant::now();
        let memory_there = self.upstream_cells(&calls)?;
        let there = begun.elapsed();
        println!("\ncold compile, {} modules, {} cells, two cores\n", modules.len(), cells.len());
        println!("isomer compile             {:>8.1} s   peak {:>5} MB", here.as_secs_f64(), memory / 1024);
        println!(
            "wasmtime compile, a cell   {:>8.1} s   peak {:>5} MB a process, two at a time",
            there.as_secs_f64(),
            memory_there / 1024
        );
        println!("ratio                      {:>8.2}", here.as_secs_f64() / there.as_secs_f64());
        Ok(())
    }

    fn upstream_cells(&self, calls: &[(String, Vec<String>)]) -> Result<u64> {
        let next = std::sync::atomic::AtomicUsize::new(0);
        let worker = |index: usize| -> Result<u64> {
            let output = self.directory.join(format!("upstream-{index}.cwasm"));
            let mut memory = 0;
            while let Some((input, flags)) = calls.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                let mut command = Command::new(&self.upstream);
                command.arg("compile").args(flags).arg(input).arg("-o").arg(&output).stderr(Stdio::null());
                memory = memory.max(wait(command.spawn()?)?);
            }
            Ok(memory)
        };
        thread::scope(|scope| {
            let workers: Vec<_> = (0..2).map(|index| scope.spawn(move || worker(index))).collect();
            workers
                .into_iter()
                .map(|worker| worker.join().expect("no worker panics"))
                .try_fold(0, |most, memory| Ok(most.max(memory?)))
        })
    }
}

/// The same triple and ISA flags for upstream's command line.
fn upstream_flags(target: &str) -> Result<Vec<String>> {
    let shown = crate::shell::read(Command::new(binary("isomer")).args(["targets", "show", target, "--json"]))?;
    let shown: serde_json::Value = serde_json::from_str(&shown)?;
    let mut flags = vec!["--target".to_owned(), shown["triple"].as_str().context("a triple")?.to_owned()];
    for row in shown["isa"].as_array().context("extensions")? {
        flags.extend(["-C".to_owned(), format!("cranelift-{}", row["flag"].as_str().context("a flag")?)]);
    }
    Ok(flags)
}

/// Waits for a process and returns the most memory that it held, in KiB.
fn wait(mut child: Child) -> Result<u64> {
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(peak);
        if child.try_wait()?.is_some() {
            return Ok(peak);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn timed(command: &mut Command) -> Result<Duration> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let begun = Instant::now();
    let status = command.status()?;
    let took = begun.elapsed();
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(took)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
