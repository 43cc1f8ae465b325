//! How long a build farm takes: `isomer release` for all targets, with nothing, everything, or all but one module in the
//! cache, against one `wasmtime compile` with the same flags for each artifact.

use super::Bench;
use super::watch::{Watched, watch};
use crate::corpus;
use anyhow::{Result, ensure};
use isomer_testing::root;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

/// How many modules the release has of which one is edited.
const FIFTY: usize = 50;

/// How many small modules make a large release.
const MANY: usize = 1000;

/// The modules of a release: names and files.
type Modules = Vec<(String, PathBuf)>;

/// What `isomer release --json` says, as far as it matters here.
#[derive(Deserialize)]
struct Report {
    cells: Vec<Cell>,
}

#[derive(Deserialize)]
struct Cell {
    module: String,
    target: String,
    status: String,
    #[serde(default)]
    compiled: bool,
}

impl Report {
    fn jobs(&self) -> usize {
        self.cells.iter().filter(|cell| cell.compiled).count()
    }

    /// The cells that can be compiled at all.
    fn expressible(&self) -> Vec<&Cell> {
        self.cells.iter().filter(|cell| cell.status != "not-expressible").collect()
    }
}

impl Bench {
    /// The corpus for all targets, then again in another directory.
    pub(super) fn corpus(&self, names: &[String]) -> Result<()> {
        let modules = named(corpus::fetch(names)?);
        let (report, cold) = self.release(&modules, "cold", "cache")?;
        let (again, warm) = self.release(&modules, "warm", "cache")?;
        ensure!(again.jobs() == 0, "{} jobs were done again", again.jobs());
        let cells = report.expressible();
        let targets: BTreeMap<&str, Vec<String>> =
            cells.iter().map(|cell| Ok((cell.target.as_str(), self.flags(&cell.target)?))).collect::<Result<_>>()?;
        let files: BTreeMap<&str, &Path> = modules.iter().map(|(name, path)| (name.as_str(), path.as_path())).collect();
        let calls: Vec<_> =
            cells.iter().map(|cell| (files[cell.module.as_str()], targets[cell.target.as_str()].as_slice())).collect();
        let there = self.upstream(&calls)?;
        println!("\n{} modules of the corpus, {} cells, {} jobs\n", modules.len(), cells.len(), report.jobs());
        if there.failed > 0 {
            println!("upstream fails in {} of these cells; the time that this takes counts for it\n", there.failed);
        }
        print_row("wasmtime compile, a cell", there.wall, there.wall, there.peak_bytes);
        print_row("isomer release, nothing cached", cold.wall, there.wall, cold.peak_bytes);
        print_row("isomer release, everything cached", warm.wall, there.wall, warm.peak_bytes);
        print_use(&cold);
        Ok(())
    }

    /// Fifty modules for all targets, of which one is edited then.
    pub(super) fn edited(&self) -> Result<()> {
        let mut modules = self.small(FIFTY)?;
        let (report, cold) = self.release(&modules, "cold", "cache-fifty")?;
        let (_, warm) = self.release(&modules, "warm", "cache-fifty")?;
        let chosen = &mut modules[FIFTY / 2];
        let mut wasm = fs::read(&chosen.1)?;
        wasm.extend(custom_section("edited", "once"));
        chosen.1 = self.directory.join("edited.wasm");
        fs::write(&chosen.1, wasm)?;
        let alone = vec![chosen.clone()];
        let (edited_report, edited) = self.release(&modules, "edited", "cache-fifty")?;
        let (_, alone) = self.release(&alone, "alone", "cache-alone")?;
        println!("\n{FIFTY} modules, {} jobs; one edited, {} jobs\n", report.jobs(), edited_report.jobs());
        let rows = [("nothing cached", &cold), ("nothing edited", &warm), ("one edited", &edited)];
        for (name, took) in rows.into_iter().chain([("that one alone, nothing cached", &alone)]) {
            print_row(name, took.wall, cold.wall, took.peak_bytes);
        }
        Ok(())
    }

    /// A thousand small modules for all targets, against the time that nothing but generating code would take.
    pub(super) fn many(&self) -> Result<()> {
        let (report, took) = self.release(&self.small(MANY)?, "many", "cache-many")?;
        let ideal = took.workers / thread::available_parallelism()?.get() as u32;
        println!("\n{MANY} small modules, {} cells, {} jobs\n", report.cells.len(), report.jobs());
        print_row("the workers' time / cores", ideal, ideal, 0);
        print_row("isomer release, nothing cached", took.wall, ideal, took.peak_bytes);
        print_use(&took);
        Ok(())
    }

    /// So many modules that differ: the tests' guests, each with its number in a section that no code comes from.
    fn small(&self, count: usize) -> Result<Modules> {
        let guests = fs::read_dir(root().join("tests/guests"))?.map(|entry| Ok(entry?.path()));
        let mut guests = guests.collect::<Result<Vec<_>>>()?;
        guests.retain(|path| path.extension().is_some_and(|extension| extension == "wasm"));
        guests.sort();
        let directory = self.directory.join("small");
        fs::create_dir_all(&directory)?;
        let write = |number: usize| {
            let mut wasm = fs::read(&guests[number % guests.len()])?;
            wasm.extend(custom_section("number", &number.to_string()));
            let path = directory.join(format!("module-{number}.wasm"));
            fs::write(&path, wasm)?;
            Ok(path)
        };
        Ok(named((0..count).map(write).collect::<Result<_>>()?))
    }

    /// Makes a release in a new directory with the cache of this name, and removes it.
    fn release(&self, modules: &Modules, label: &str, cache: &str) -> Result<(Report, Watched)> {
        let [manifest, json, log] = ["toml", "json", "log"].map(|kind| self.directory.join(format!("{label}.{kind}")));
        let mut text = "[release]\nname = 'bench'\nversion = '1'\ntargets = ['all']\n".to_owned();
        for (name, path) in modules {
            writeln!(text, "[[module]]\nname = '{name}'\npath = '{}'", path.display())?;
        }
        fs::write(&manifest, text)?;
        let output = self.directory.join(label);
        let mut command = self.isomer();
        command.args(["release", "--json", "-f"]).arg(manifest).arg("-o").arg(&output);
        command.arg("--cache").arg(self.directory.join(cache)).stdin(Stdio::null());
        let took = watch(command.stdout(File::create(&json)?).stderr(File::create(&log)?))?;
        ensure!(took.status.success(), "{command:?} ended with {}:\n{}", took.status, fs::read_to_string(log)?);
        fs::remove_dir_all(output)?;
        Ok((serde_json::from_slice(&fs::read(json)?)?, took))
    }
}

fn named(paths: Vec<PathBuf>) -> Modules {
    let name = |path: &PathBuf| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    paths.into_iter().map(|path| (name(&path), path)).collect()
}

/// A custom section whose name and text have fewer than 100 bytes, so that each length is one byte.
fn custom_section(name: &str, text: &str) -> Vec<u8> {
    let length = 1 + name.len() + text.len();
    [&[0, length as u8, name.len() as u8], name.as_bytes(), text.as_bytes()].concat()
}

fn print_row(what: &str, took: Duration, of: Duration, peak_bytes: u64) {
    let (seconds, ratio) = (took.as_secs_f64(), took.as_secs_f64() / of.as_secs_f64());
    let peak = if peak_bytes == 0 { String::new() } else { format!("   peak {:>6.0} MB", peak_bytes as f64 / 1e6) };
    println!("{what:<36} {seconds:>8.2} s {ratio:>8.3}{peak}");
}

/// How busy the cores were, and with what.
fn print_use(took: &Watched) {
    let cores = thread::available_parallelism().map_or(1, usize::from) as f64;
    let all = took.wall.as_secs_f64() * cores;
    let part = |time: Duration| 100.0 * time.as_secs_f64() / all;
    let busy = part(took.workers + took.own);
    println!("cores busy {busy:.0} %: workers {:.0} %, the rest of isomer {:.0} %", part(took.workers), part(took.own));
}
