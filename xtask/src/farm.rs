//! `cargo xtask farm`: a release through a real farm of several workers, of which one is killed at work. In: programs,
//! and a farm that is set up on this machine. Out: what was seen, and an error if that release is not byte by byte the
//! one made here. Opt-in: it downloads 150 MB, and is skipped where that, or a sandbox, is not to be had.

use anyhow::{Context, Result, ensure};
use isomer_testing::root;
use isomer_testing::shell::{cargo, run as run_program, tools};
use servers::{INSTANCE, Servers};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

mod servers;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where `isomer` is [default: it is built, for debugging]
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

const WORKERS: [&str; 2] = ["worker-1", "worker-2"];
const TARGETS: [&str; 4] = ["x86-64-v2", "x86-64-v3", "neoverse-n1", "pulley64"];
const GUESTS: [&str; 4] = ["component", "numbers", "sha256", "sort"];
/// The branches in one function that keep a compiler busy for seconds: its time grows with their square.
const BRANCHES: usize = 24_000;
/// A job that has computed for so long is a long one. In the kernel's ticks, a hundred a second.
const BUSY_TICKS: u64 = 50;
const LIMIT: Duration = Duration::from_secs(600);

pub(crate) fn run(args: &Args) -> Result<()> {
    let begun = Instant::now();
    let sandbox = match servers::install() {
        Ok(sandbox) => sandbox,
        Err(error) => {
            println!("skipped: {error:#}");
            return Ok(());
        }
    };
    println!("farm: {}; {} s", sandbox.versions()?, begun.elapsed().as_secs());
    let programs = match &args.programs {
        Some(directory) => directory.canonicalize().with_context(|| format!("no {}", directory.display()))?,
        None => {
            run_program(cargo().args(["build", "--locked", "--package", "isomer"]))?;
            root().join("target/debug")
        }
    };
    let directory = tools().join("farm/releases");
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory)?;
    let trial = Trial { isomer: programs.join("isomer"), directory };
    trial.write_manifest()?;
    let begun = Instant::now();
    trial.begin("local", &[])?.finish()?;
    println!("farm: a release made here; {:.1} s", begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    let servers = Servers::start(sandbox, &WORKERS)?;
    println!("farm: BuildGrid at {}, {}; {:.1} s", servers.url(), WORKERS.join(", "), begun.elapsed().as_secs_f64());
    let logs = servers.logs().to_owned();
    trial.on(servers).with_context(|| format!("the servers' logs are in {}", logs.display()))
}

/// The releases that are compared.
struct Trial {
    isomer: PathBuf,
    directory: PathBuf,
}

/// A release that is being made.
struct Release {
    isomer: Child,
    output: PathBuf,
}

/// A worker that was killed, and the job that it had.
struct Lost {
    worker: String,
    job: String,
    since: Instant,
}

impl Trial {
    fn on(&self, mut servers: Servers) -> Result<()> {
        self.refusals(&servers)?;
        let remote = ["--remote-exec", &servers.url(), "--remote-instance", INSTANCE, "-j", "8"];
        let begun = Instant::now();
        let mut release = self.begin("remote", &remote)?;
        let lost = kill_one_at_work(&mut servers, &mut release)?;
        lost.follow(&servers)?;
        let compiled = release.finish()?;
        println!("farm: a release made there; {:.1} s", begun.elapsed().as_secs_f64());
        let job = servers.job(&lost.job)?;
        ensure!(
            job.completed && job.worker != lost.worker && job.tries == 2,
            "the job of {} ended as {job:?}; expected it completed by the other worker on the second try",
            lost.worker
        );
        let completed = servers.completed()?;
        println!("farm: jobs done there, by worker: {completed:?}");
        ensure!(
            completed.values().sum::<usize>() == compiled,
            "{compiled} cells were compiled, but jobs done are {completed:?}"
        );
        self.compare("remote")?;

        let again = self.begin("again", &remote)?.finish()?;
        let repeated = servers.completed()?;
        ensure!(again == 0 && repeated == completed, "of the same release {again} cells were compiled: {repeated:?}");
        println!("farm: the same again: no job done, all from the farm's cache");
        self.compare("again")
    }

    fn write_manifest(&self) -> Result<()> {
        let branch = "local.get 0 if local.get 0 i32.const 1 i32.add local.set 0 end ".repeat(BRANCHES);
        let slow = format!("(module (func (export \"f\") (param i32) (result i32) {branch} local.get 0))");
        fs::write(self.directory.join("slow.wat"), slow)?;
        let mut text = format!("[release]\nname = 'farm'\nversion = '1.0.0'\ntargets = {TARGETS:?}\n");
        text += "[[module]]\npath = 'slow.wat'\n";
        for guest in GUESTS {
            let path = root().join(format!("tests/guests/{guest}.wasm"));
            text += &format!("[[module]]\npath = '{}'\n", path.display());
        }
        Ok(fs::write(self.directory.join("isomer.toml"), text)?)
    }

    /// `isomer release`, which ends when this program does, however that ends.
    fn isomer(&self, output: &str, options: &[&str]) -> Command {
        let mut isomer = Command::new("setpriv");
        isomer.args(["--pdeathsig", "KILL"]).arg(&self.isomer).args(["release", "--no-cache", "--json", "-o", output]);
        isomer.args(options).current_dir(&self.directory).stdin(Stdio::null());
        isomer
    }

    fn begin(&self, output: &str, options: &[&str]) -> Result<Release> {
        let mut isomer = self.isomer(output, options);
        let output = self.directory.join(output);
        isomer.stdout(File::create(output.with_extension("json"))?);
        isomer.stderr(File::create(output.with_extension("log"))?);
        let isomer = isomer.spawn().with_context(|| format!("could not start {}", self.isomer.display()))?;
        Ok(Release { isomer, output })
    }

    /// What a farm with names and properties does not do, in words that say why.
    fn refusals(&self, servers: &Servers) -> Result<()> {
        let url = servers.url();
        let cases = [
            (["--remote-instance", "other"].to_vec(), "unknown instance `other`"),
            (["--remote-instance", INSTANCE, "--remote-property", "colour=red"].to_vec(), "property [colour="),
            // A property that it knows and no worker has: it queues without a word.
            (
                ["--remote-instance", INSTANCE, "--remote-property", "OSFamily=none", "--remote-timeout", "3s"]
                    .to_vec(),
                "still waited for a worker",
            ),
        ];
        for (options, expected) in cases {
            let ran = self.isomer("refused", &[&["--remote-exec", &url], &options[..]].concat()).output()?;
            let printed = String::from_utf8_lossy(&ran.stderr);
            ensure!(
                !ran.status.success() && printed.contains(expected),
                "with {options:?}, isomer ended with {}; expected a refusal with `{expected}`, found: {printed}",
                ran.status
            );
        }
        println!("farm: an instance, a property and workers that it does not have: refused, each with its reason");
        Ok(())
    }

    /// Every file of a release, with the one that was made here.
    fn compare(&self, output: &str) -> Result<()> {
        let [mut here, mut there] = [BTreeMap::new(), BTreeMap::new()];
        files(&self.directory.join("local"), Path::new(""), &mut here)?;
        files(&self.directory.join(output), Path::new(""), &mut there)?;
        ensure!(here.contains_key(Path::new("index.json")), "the release made here has no index");
        let names = here.keys().chain(there.keys().filter(|name| !here.contains_key(*name)));
        let different: Vec<_> = names.filter(|name| here.get(*name) != there.get(*name)).collect();
        ensure!(different.is_empty(), "{} of {} files differ: {different:?}", different.len(), here.len());
        let size: usize = here.values().map(Vec::len).sum();
        println!("farm: {} files, {size} bytes: identical", here.len());
        Ok(())
    }
}

impl Release {
    /// How many cells were compiled now.
    fn finish(mut self) -> Result<usize> {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.isomer.try_wait()? {
                break status;
            }
            ensure!(begun.elapsed() < LIMIT, "the release did not end within {} s", LIMIT.as_secs());
            sleep(Duration::from_millis(50));
        };
        let printed = fs::read_to_string(self.output.with_extension("log"))?;
        ensure!(status.success(), "isomer release ended with {status}: {printed}");
        let report: serde_json::Value = serde_json::from_slice(&fs::read(self.output.with_extension("json"))?)?;
        let cells = report["cells"].as_array().context("the report has no cells")?;
        Ok(cells.iter().filter(|cell| cell["compiled"] == true).count())
    }
}

impl Drop for Release {
    fn drop(&mut self) {
        let _ = self.isomer.kill();
        let _ = self.isomer.wait();
    }
}

/// Waits until all workers have done something and one has been busy with a job for a while, and kills that.
fn kill_one_at_work(servers: &mut Servers, release: &mut Release) -> Result<Lost> {
    let mut wait = |is_so: &mut dyn FnMut() -> Result<bool>| -> Result<()> {
        while !is_so()? {
            ensure!(release.isomer.try_wait()?.is_none(), "the release ended before a worker could be killed");
            sleep(Duration::from_millis(20));
        }
        Ok(())
    };
    wait(&mut || Ok(servers.completed()?.len() == WORKERS.len()))?;
    let mut found = None;
    wait(&mut || {
        let workers = servers.workers().iter().enumerate();
        found = workers.filter_map(|(at, one)| Some((at, busy_job_of(one.process())?))).next();
        Ok(found.is_some())
    })?;
    let (index, process) = found.context("the wait was for one")?;
    let worker = servers.workers()[index].name.clone();
    let job = servers.job_of(&worker)?.with_context(|| format!("BuildGrid knows of no job that {worker} has"))?;
    servers.workers()[index].kill()?;
    let since = Instant::now();
    while Path::new(&format!("/proc/{process}")).exists() {
        ensure!(since.elapsed() < Duration::from_secs(10), "process {process} outlived {worker}");
        sleep(Duration::from_millis(10));
    }
    println!("farm: killed {worker} while `isomer job` ran there as process {process}, which is gone: job {job}");
    Ok(Lost { worker, job, since })
}

impl Lost {
    /// Until another worker has the job.
    fn follow(&self, servers: &Servers) -> Result<()> {
        let wait = |what: &str, is_so: &dyn Fn(&str) -> bool| -> Result<f64> {
            loop {
                let job = servers.job(&self.job)?;
                if is_so(&job.worker) {
                    return Ok(self.since.elapsed().as_secs_f64());
                }
                ensure!(!job.completed, "{} completed the job before it was killed", self.worker);
                ensure!(self.since.elapsed() < LIMIT, "the job of {} was not {what}: {job:?}", self.worker);
                sleep(Duration::from_millis(50));
            }
        };
        let queued = wait("given up", &|worker| worker != self.worker)?;
        let taken = wait("taken", &|worker| worker != self.worker && !worker.is_empty())?;
        println!(
            "farm: its job was back in the queue after {queued:.1} s, and with the other worker after {taken:.1} s"
        );
        Ok(())
    }
}

/// The process under `worker` that has done an action of ours for a while.
fn busy_job_of(worker: u32) -> Option<u32> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut processes = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    processes.find(|process| {
        let command = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        let is_job = command.starts_with(b"./isomer\0job\0");
        is_job && stat(*process).is_some_and(|(_, ticks)| ticks >= BUSY_TICKS) && comes_from(*process, worker)
    })
}

fn comes_from(process: u32, ancestor: u32) -> bool {
    std::iter::successors(Some(process), |process| stat(*process).map(|(parent, _)| parent)).any(|one| one == ancestor)
}

/// A process's parent, and the ticks that it has computed for.
fn stat(process: u32) -> Option<(u32, u64)> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The program's name may contain anything: the fields after it are counted from its end.
    let fields: Vec<_> = stat.rsplit_once(") ")?.1.split(' ').collect();
    Some((fields.get(1)?.parse().ok()?, fields.get(11)?.parse().ok()?))
}

fn files(root: &Path, below: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) -> Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let name = below.join(entry?.file_name());
        if root.join(&name).is_dir() {
            files(root, &name, found)?;
        } else {
            let bytes = fs::read(root.join(&name))?;
            found.insert(name, bytes);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_that_differ_in_a_byte_or_a_file_are_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let trial = Trial { isomer: PathBuf::new(), directory: directory.path().to_owned() };
        for release in ["local", "remote"] {
            fs::create_dir_all(trial.directory.join(release).join("blobs")).unwrap();
            for file in ["index.json", "blobs/a"] {
                fs::write(trial.directory.join(release).join(file), "same").unwrap();
            }
        }
        trial.compare("remote").unwrap();
        for file in ["blobs/a", "blobs/b"] {
            fs::write(trial.directory.join("remote").join(file), "else").unwrap();
            let error = trial.compare("remote").unwrap_err().to_string();
            assert!(error.contains(file), "{error}");
        }
    }
}
