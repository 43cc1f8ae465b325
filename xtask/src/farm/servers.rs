//! A farm as companies run it: BuildGrid with PostgreSQL, and workers of buildbox, each in a sandbox of a newer Debian
//! than most machines have. In: Debian's and Python's package registries, and a free port. Out: its address, and what
//! its database says of jobs, until it is dropped. Never here: a process that outlives this one, whatever ends it, or
//! a server that other machines can reach.

use crate::debian::Apt;
use crate::setup;
use anyhow::{Context, Result, bail, ensure};
use isomer_testing::shell::{read, run, tools};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const BUILDGRID: &str = "BuildGrid==0.9.1";
/// Debian's names for the releases to come: what they stand for moves, they stay.
const SUITES: [&str; 2] = ["testing", "unstable"];
const PACKAGES: [&str; 4] = ["buildbox", "postgresql", "python3", "dash"];
/// The name of BuildGrid's instance.
pub(super) const INSTANCE: &str = "main";
/// BuildGrid's database. Its socket lies in the sandbox's /srv, which is this run's directory.
const DATABASE: &str = "postgresql+psycopg://farm@/postgres?host=/srv";
const START_LIMIT: Duration = Duration::from_secs(90);

struct Installation {
    system: PathBuf,
    buildgrid: PathBuf,
}

/// The servers. Workers end before the server that they request work from.
pub(super) struct Servers {
    workers: Vec<Worker>,
    _buildgrid: Server,
    _postgres: Server,
    sandbox: Sandbox,
    port: u16,
}

/// One worker of the farm.
pub(super) struct Worker {
    pub(super) name: String,
    server: Server,
}

struct Server {
    child: Child,
    log: PathBuf,
}

/// Where programs run that this machine does not have.
pub(super) struct Sandbox {
    installation: Installation,
    /// What the servers write, /srv to them: gone when they are.
    state: PathBuf,
    logs: PathBuf,
}

/// What BuildGrid knows of a job.
#[derive(PartialEq, Eq, Clone, Debug)]
pub(super) struct JobState {
    /// The worker that has or had it.
    pub(super) worker: String,
    pub(super) completed: bool,
    /// How often a worker was given it.
    pub(super) tries: u32,
}

/// Installs what is not there yet. An error says why there can be no farm on this machine.
pub(super) fn install() -> Result<Sandbox> {
    ensure!(std::env::consts::ARCH == "x86_64", "its programs are installed for x86-64 alone");
    for (package, program) in [("bubblewrap", "bwrap"), ("util-linux", "setpriv")] {
        setup::install_program(package, program)?;
    }
    let sandboxed =
        read(Command::new("bwrap").args(["--unshare-pid", "--ro-bind", "/", "/", "--proc", "/proc", "true"]));
    sandboxed.context("this machine makes no sandboxes")?;
    let system = directory().join("system");
    if !system.exists() {
        let [first, second] = SUITES;
        unpack_system(first, &system).or_else(|error| unpack_system(second, &system).map_err(|_| error))?;
    }
    // `python3` is a link to the release's Python, whose version the wheels must be for.
    let python = fs::read_link(system.join("usr/bin/python3")).context("Debian's Python is not there")?;
    let python = python.to_string_lossy().trim_start_matches("python").to_owned();
    let buildgrid = directory().join(format!("buildgrid-{python}"));
    if !buildgrid.exists() {
        // This machine's Python need not be one that BuildGrid runs on.
        let options = ["--ignore-requires-python", "--no-warn-conflicts", "--only-binary=:all:"];
        setup::pip_install(&[&options[..], &["--python-version", &python, BUILDGRID]].concat(), &buildgrid)?;
    }
    Sandbox::new(Installation { system, buildgrid })
}

fn directory() -> PathBuf {
    tools().join("farm")
}

fn unpack_system(suite: &str, whole: &Path) -> Result<()> {
    let (lists, partial) = (directory().join("apt"), directory().join("system.partial"));
    for left in [&lists, &partial] {
        let _ = fs::remove_dir_all(left);
    }
    let unpacked = Apt::with(&lists, &[(suite, &["amd64"])]).and_then(|apt| apt.unpack_system(&PACKAGES, &partial));
    let _ = fs::remove_dir_all(&lists);
    unpacked.with_context(|| format!("Debian {suite} is not to be had"))?;
    // The packages' scripts, which would have created users, were not run.
    fs::write(partial.join("etc/passwd"), "root:x:0:0::/tmp:/bin/sh\nfarm:x:1000:1000::/tmp:/bin/sh\n")?;
    fs::write(partial.join("etc/group"), "root:x:0:\nfarm:x:1000:\n")?;
    // Nor the directories that a sandbox lays something over.
    for directory in ["dev", "opt", "proc", "srv", "tmp"] {
        fs::create_dir_all(partial.join(directory))?;
    }
    fs::rename(&partial, whole).with_context(|| format!("could not rename the download to {}", whole.display()))
}

impl Servers {
    /// Starts them, each once what it needs is there.
    pub(super) fn start(sandbox: Sandbox, workers: &[&str]) -> Result<Servers> {
        let programs = sandbox.postgres_programs()?;
        run(sandbox
            .enter(true)
            .arg(format!("{programs}/initdb"))
            .args([
                "--pgdata=/srv/data",
                "--username=farm",
                "--auth=trust",
                "--encoding=UTF8",
                "--no-locale",
                "--no-sync",
            ])
            .stdout(Stdio::null()))?;
        let mut postgres = sandbox.enter(true);
        // No port at all: a socket in the sandbox.
        postgres.arg(format!("{programs}/postgres")).args(["-D", "/srv/data", "-k", "/srv", "-c", "listen_addresses="]);
        let mut postgres = sandbox.start("postgres", &mut postgres)?;
        postgres.wait_until(|| sandbox.query("select 1").is_ok())?;
        let bgd = || {
            let mut bgd = sandbox.enter(true);
            bgd.args(["python3", "/opt/bin/bgd"]);
            bgd
        };
        run(bgd().args(["migrate", "apply", DATABASE]).stdout(Stdio::null()))?;

        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let settings = include_str!("buildgrid.yml").replace("PORT", &port.to_string()).replace("DATABASE", DATABASE);
        fs::write(sandbox.state.join("buildgrid.yml"), settings)?;
        let mut buildgrid = sandbox.start("buildgrid", bgd().args(["server", "start", "-v", "/srv/buildgrid.yml"]))?;
        buildgrid.wait_until(|| TcpStream::connect(("127.0.0.1", port)).is_ok())?;
        let workers = workers.iter().map(|name| Worker::start(name, port, &sandbox)).collect::<Result<_>>()?;
        let servers = Servers { workers, _buildgrid: buildgrid, _postgres: postgres, sandbox, port };
        let count = servers.workers.len().to_string();
        let begun = Instant::now();
        while servers.sandbox.query("select count(*) from bots")? != count {
            ensure!(
                begun.elapsed() < START_LIMIT,
                "the workers did not report to BuildGrid: see {}",
                servers.logs().display()
            );
            sleep(Duration::from_millis(100));
        }
        Ok(servers)
    }

    /// As isomer takes it.
    pub(super) fn url(&self) -> String {
        format!("grpc://127.0.0.1:{}", self.port)
    }

    pub(super) fn workers(&mut self) -> &mut [Worker] {
        &mut self.workers
    }

    pub(super) fn logs(&self) -> &Path {
        &self.sandbox.logs
    }

    /// The job that a worker executes.
    pub(super) fn job_of(&self, worker: &str) -> Result<Option<String>> {
        const EXECUTING: u32 = 3;
        let found = self
            .sandbox
            .query(&format!("select name from jobs where worker_name = '{worker}' and stage = {EXECUTING}"))?;
        Ok(found.lines().next().map(str::to_owned))
    }

    pub(super) fn job(&self, name: &str) -> Result<JobState> {
        let row = self
            .sandbox
            .query(&format!("select coalesce(worker_name, ''), stage = 4, n_tries from jobs where name = '{name}'"))?;
        let [worker, completed, tries] = row.split('|').collect::<Vec<_>>()[..] else {
            bail!("BuildGrid forgot job {name}")
        };
        Ok(JobState { worker: worker.to_owned(), completed: completed == "t", tries: tries.parse()? })
    }

    /// How many jobs each worker completed. What the cache had is a job too, of no worker.
    pub(super) fn completed(&self) -> Result<BTreeMap<String, usize>> {
        let rows = self.sandbox.query(
            "select worker_name, count(*) from jobs where stage = 4 and worker_name is not null group by 1 order by 1",
        )?;
        let pair =
            |row: &str| row.split_once('|').and_then(|(name, count)| Some((name.to_owned(), count.parse().ok()?)));
        rows.lines().map(|row| pair(row).with_context(|| format!("`{row}` is no count"))).collect()
    }
}

impl Worker {
    fn start(name: &str, port: u16, sandbox: &Sandbox) -> Result<Worker> {
        let mut worker = sandbox.enter(false);
        worker
            .arg("buildbox-worker")
            .arg(format!("--remote=http://127.0.0.1:{port}"))
            .arg(format!("--instance={INSTANCE}"));
        worker.args(["--buildbox-run=/usr/bin/buildbox-run-bubblewrap", "--runner-arg=--disable-localcas"]);
        // A tool that is not linked statically finds the C library of the sandbox.
        for mount in ["/usr:/usr", "/usr/lib:/lib", "/usr/lib64:/lib64"] {
            worker.arg(format!("--runner-arg=--ro-bind-mount={mount}"));
        }
        worker.args(["--concurrent-jobs=1", "--log-level=info", name]);
        Ok(Worker { name: name.to_owned(), server: sandbox.start(name, &mut worker)? })
    }

    /// The process that all others of the worker come from.
    pub(super) fn process(&self) -> u32 {
        self.server.child.id()
    }

    /// Ends it as a power cut does: with all its processes, and no word to anybody.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.server.child.kill()?;
        self.server.child.wait()?;
        Ok(())
    }
}

impl Server {
    fn wait_until(&mut self, is_there: impl Fn() -> bool) -> Result<()> {
        let begun = Instant::now();
        while !is_there() {
            let ended = self.child.try_wait()?;
            ensure!(ended.is_none() && begun.elapsed() < START_LIMIT, "it did not start: see {}", self.log.display());
            sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Sandbox {
    fn new(installation: Installation) -> Result<Sandbox> {
        let (state, logs) = (directory().join("state"), directory().join("logs"));
        for directory in [&state, &logs] {
            let _ = fs::remove_dir_all(directory);
            fs::create_dir_all(directory)?;
        }
        Ok(Sandbox { installation, state, logs })
    }

    /// A program in the system. Its processes are a namespace of their own that ends with the first of them, and that
    /// with us. PostgreSQL refuses root, who is an ordinary `user` then.
    fn enter(&self, user: bool) -> Command {
        let root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
        // To root, bubblewrap makes parts of /proc unwritable, and then no sandbox can be made in the sandbox, as
        // workers do. It looks whether they are writable, which they are by this capability alone.
        let mut command = Command::new(if root { "setpriv" } else { "bwrap" });
        if root {
            command.args(["--bounding-set=-dac_override,-dac_read_search", "bwrap"]);
        }
        command.args(["--die-with-parent", "--new-session", "--unshare-pid"]);
        if user {
            command.args(["--unshare-user", "--uid", "1000", "--gid", "1000"]);
        }
        command.arg("--ro-bind").arg(&self.installation.system).arg("/");
        command.arg("--ro-bind").arg(&self.installation.buildgrid).arg("/opt");
        command.arg("--bind").arg(&self.state).arg("/srv");
        command.args(["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--clearenv"]);
        for (name, value) in [("PATH", "/usr/bin"), ("HOME", "/tmp"), ("LANG", "C.UTF-8"), ("PYTHONPATH", "/opt")] {
            command.args(["--setenv", name, value]);
        }
        command.stdin(Stdio::null());
        command
    }

    /// Shows that the programs run, also in a sandbox in the sandbox.
    pub(super) fn versions(&self) -> Result<String> {
        let nested =
            ["bwrap", "--unshare-pid", "--ro-bind", "/", "/", "--proc", "/proc", "buildbox-worker", "--version"];
        let python = "import sys, buildgrid.server; print('Python', sys.version.split()[0])";
        let calls: [(bool, &[&str]); 3] =
            [(false, &nested), (true, &["psql", "--version"]), (true, &["python3", "-c", python])];
        let mut found = vec![BUILDGRID.to_owned()];
        for (user, call) in calls {
            found.push(read(self.enter(user).args(call))?.trim().to_owned());
        }
        Ok(found.join(", "))
    }

    fn start(&self, name: &str, command: &mut Command) -> Result<Server> {
        let log = self.logs.join(name);
        let file = File::create(&log)?;
        let child = command.stdout(file.try_clone()?).stderr(file).spawn();
        Ok(Server { child: child.with_context(|| format!("could not start {name}"))?, log })
    }

    /// Debian has a directory for each major version.
    fn postgres_programs(&self) -> Result<String> {
        let versions = fs::read_dir(self.installation.system.join("usr/lib/postgresql"))?;
        let version = versions.map(|entry| Ok(entry?.file_name())).collect::<Result<Vec<_>>>()?.into_iter().max();
        let version = version.context("PostgreSQL is not there")?;
        Ok(format!("/usr/lib/postgresql/{}/bin", version.to_string_lossy()))
    }

    /// What the database answers: a line a row, `|` between the columns.
    fn query(&self, sql: &str) -> Result<String> {
        let mut psql = self.enter(true);
        psql.args([
            "psql",
            "--no-psqlrc",
            "--tuples-only",
            "--no-align",
            "--host=/srv",
            "--username=farm",
            "postgres",
            "-c",
            sql,
        ]);
        Ok(read(&mut psql)?.trim().to_owned())
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.state);
    }
}
