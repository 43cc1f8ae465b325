//! How long a server waits until a module begins: whole processes, each way that `isomer-run` loads an artifact, turn by
//! turn with `wasmtime run --allow-precompiled`, which checks nothing; and how often each executes CPUID, which is what a
//! virtual machine pays for at the start of a process.

use super::{Bench, cpuids, median, timed};
use crate::corpus;
use anyhow::{Result, ensure};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

impl Bench {
    /// The whole process, from exec to exit, verified here and unverified there.
    pub(super) fn start(&self, runs: usize) -> Result<()> {
        println!("start of a process, median of {runs} runs, against `wasmtime run --allow-precompiled`\n");
        println!("{:<34} {:>9} {:>9} {:>9} {:>7}  CPUIDs executed", "artifact", "size", "isomer", "wasmtime", "ratio");
        let small = isomer_testing::root().join("tests/guests/sha256.wasm");
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
        let mut compile = self.isomer();
        compile.arg("compile").arg(wasm).args(["-t", "x86-64-v2", "-o"]).arg(&artifact);
        isomer_testing::shell::run(self.with_cache(&mut compile).stdout(Stdio::null()))?;
        let bytes = fs::read(&artifact)?;
        let digest = format!("sha256:{}", hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&bytes)));
        let size = format!("{:.1} MB", bytes.len() as f64 / 1e6);
        // What comes before the guest's arguments.
        let mut ways: Vec<(String, Vec<OsString>)> =
            vec![("file, --digest".to_owned(), vec!["--digest".into(), digest.into(), artifact.clone().into()])];
        for compression in ["none", "zstd"] {
            let layout = self.layout(label, wasm, compression)?;
            ways.push((
                format!("layout, {compression}"),
                vec!["--allow-unsigned".into(), layout.into(), "module".into()],
            ));
        }
        let places = self.stores(label, wasm)?;
        for (name, store) in &places {
            ways.push((format!("installed, {name}"), vec!["--store".into(), store.path().into(), "module".into()]));
        }
        for (name, arguments) in ways {
            let (mut here, mut there) = (Vec::new(), Vec::new());
            // Turn by turn, so that whatever else the machine does falls on both.
            for _ in 0..runs {
                here.push(timed(self.isomer_run().arg("run").args(&arguments).args(guest_args))?);
                let mut upstream = Command::new(&self.upstream);
                there.push(timed(upstream.args(["run", "--allow-precompiled"]).arg(&artifact).args(guest_args))?);
            }
            let [here, there] = [here, there].map(|times| median(times).as_secs_f64() * 1e3);
            let name = format!("{label}, {name}");
            let counted = cpuids(self.isomer_run().arg("run").args(&arguments).args(guest_args)).and_then(|here| {
                let mut upstream = Command::new(&self.upstream);
                let there = cpuids(upstream.args(["run", "--allow-precompiled"]).arg(&artifact).args(guest_args))?;
                Ok(format!("{here} against {there}"))
            });
            let counted = counted.unwrap_or_else(|error| format!("not counted: {error:#}"));
            println!("{name:<34} {size:>9} {here:>6.2} ms {there:>6.2} ms {:>7.2}  {counted}", here / there);
        }
        Ok(())
    }

    /// Compiles nothing twice: what is measured here comes after.
    fn with_cache<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.arg("--cache").arg(self.directory.join("cache-start"))
    }

    /// Two stores with the module: one that no other user can change, which takes root and a path of root's, and one where
    /// its group can, so that it is hashed each time.
    fn stores(&self, label: &str, wasm: &Path) -> Result<Vec<(&'static str, tempfile::TempDir)>> {
        let layout = self.layout(label, wasm, "zstd")?;
        let mut stores = vec![("unprotected", tempfile::tempdir_in(&self.directory)?)];
        match tempfile::Builder::new().prefix("isomer-bench-").tempdir_in("/var/lib") {
            Ok(store) => stores.push(("protected", store)),
            Err(error) => println!("{label}, installed, protected: skipped, it takes root: {error}"),
        }
        for (name, store) in &stores {
            let mut pull = self.isomer_run();
            pull.arg("pull").arg(format!("oci-dir:{}", layout.display())).args(["--allow-unsigned", "--activate"]);
            isomer_testing::shell::run(pull.arg("--store").arg(store.path()).stdout(Stdio::null()))?;
            if *name == "unprotected" {
                let artifacts = store.path().join("artifacts");
                fs::set_permissions(artifacts, std::os::unix::fs::PermissionsExt::from_mode(0o775))?;
            }
            let mut explain = self.isomer_run();
            explain.args(["run", "--explain", "--store"]).arg(store.path()).args(["module", "--version"]);
            let explained = explain.stdin(Stdio::null()).output()?.stderr;
            let mapped = String::from_utf8_lossy(&explained).contains("is mapped from the store");
            ensure!(mapped == (*name == "protected"), "{name}: {}", String::from_utf8_lossy(&explained));
        }
        Ok(stores)
    }

    fn layout(&self, label: &str, wasm: &Path, compression: &str) -> Result<PathBuf> {
        let manifest = self.directory.join(format!("{label}-{compression}.toml"));
        let output = self.directory.join(format!("{label}-{compression}"));
        let text = format!(
            "[release]\nname = 'bench'\nversion = '1'\ntargets = ['x86-64-v2']\n[[module]]\nname = 'module'\npath = '{}'\n",
            wasm.display()
        );
        fs::write(&manifest, text)?;
        let mut command = self.isomer();
        command.arg("release").arg("-f").arg(manifest).arg("-o").arg(&output).args(["--compression", compression]);
        isomer_testing::shell::run(self.with_cache(&mut command).stdout(Stdio::null()))?;
        Ok(output)
    }
}
