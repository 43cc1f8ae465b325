//! How long a server waits until a module begins: whole processes, each way that `isomer-run` loads an artifact, turn by
//! turn with `wasmtime run --allow-precompiled`, which checks nothing.

use super::{Bench, median, timed};
use crate::corpus;
use anyhow::{Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

impl Bench {
    /// The whole process, from exec to exit, verified here and unverified there.
    pub(super) fn start(&self, runs: usize) -> Result<()> {
        println!("start of a process, median of {runs} runs, against `wasmtime run --allow-precompiled`\n");
        println!("{:<34} {:>9} {:>9} {:>9} {:>7}", "artifact", "size", "isomer", "wasmtime", "ratio");
        let small = crate::shell::root().join("tests/guests/sha256.wasm");
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
            self.isomer()
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
                    let mut command = self.isomer_run();
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
                    let mut command = self.isomer_run();
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
                    let mut command = self.isomer_run();
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
            let mut pull = self.isomer_run();
            pull.arg("pull").arg(format!("oci-dir:{}", layout.display())).args(["--allow-unsigned", "--activate"]);
            crate::shell::run(pull.arg("--store").arg(place.path()).stdout(Stdio::null()))?;
            if *name == "unprotected" {
                let artifacts = place.path().join("artifacts");
                fs::set_permissions(artifacts, std::os::unix::fs::PermissionsExt::from_mode(0o775))?;
            }
            let mut explain = self.isomer_run();
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
        let mut command = self.isomer();
        command.arg("release").arg("-f").arg(manifest).arg("-o").arg(&output).args([
            "--no-cache",
            "--compression",
            compression,
        ]);
        crate::shell::run(command.stdout(Stdio::null()))?;
        Ok(output)
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
