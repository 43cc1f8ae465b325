//! `isomer cache dir|info|gc`, and the option that names the cache's directory.

use super::values::size_or_zero;
use crate::warning::warn;
use crate::wording::{self, Remedy as _};
use etcetera::BaseStrategy as _;
use isomer_compile::cache::{Cache, CacheError, Collected, SIZE_MAX_DEFAULT, Usage, VARIABLE};
use isomer_compile::records::Records;
use isomer_contract::{Size, one_line};
use isomer_terminal::bytes;
use isomer_terminal::{Failure, Failures, print, print_json};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The cache's directory.
#[derive(clap::Args)]
pub(super) struct CacheDir {
    /// The cache of finished jobs [default: ISOMER_CACHE, or isomer in the user's cache directory]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

impl CacheDir {
    fn path(&self) -> Result<PathBuf, Failure> {
        if let Some(path) = &self.cache {
            return Ok(path.clone());
        }
        if let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
            return Ok(path.into());
        }
        let base = etcetera::choose_base_strategy().map_err(|error| {
            Failure::because("the default directory of the cache is unknown", &error)
                .hint(format!("name one with --cache or {VARIABLE}"))
        })?;
        Ok(base.cache_dir().join("isomer"))
    }

    /// The cache, if it exists; none is created.
    fn open_existing(&self) -> Result<Option<Cache>, Failure> {
        Cache::open_existing(&self.path()?).map_err(wording::failure)
    }

    /// The cache, or a warning that it is not used. What it holds is sealed with the key of `records`.
    pub(super) fn open_or_warn(&self, records: &Records) -> Option<Cache> {
        const CONSEQUENCE: &str = "the cache is not used this time";
        let path = self.path().map_err(|failure| warn(&failure, CONSEQUENCE)).ok()?;
        let warning = |error: CacheError| {
            let hint = error.remedy().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
            warn(&one_line(&error), &format!("{CONSEQUENCE}{hint}"));
        };
        Cache::open(&path, records.key()).map_err(warning).ok()
    }
}

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Print the cache's directory.
    Dir(CacheDir),
    /// Print its size, and who compiled its entries.
    Info {
        #[command(flatten)]
        dir: CacheDir,
        /// Print it as JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove the least recently used entries. `compile` and `release` do so above 10GiB.
    Gc {
        #[command(flatten)]
        dir: CacheDir,
        /// The size to keep; 0 empties the cache
        #[arg(long, value_name = "SIZE", value_parser = size_or_zero, default_value_t = SIZE_MAX_DEFAULT)]
        max_size: Size,
    },
}

pub(super) fn run(args: &Args) -> Result<(), Failures> {
    match &args.command {
        Command::Dir(dir) => Ok(print(&format!("{}\n", dir.path()?.display()))?),
        Command::Info { dir, json } => info(dir, *json),
        Command::Gc { dir, max_size } => gc(dir, *max_size),
    }
}

fn info(dir: &CacheDir, as_json: bool) -> Result<(), Failures> {
    let cache = dir.open_existing()?;
    let usage = cache.as_ref().map_or_else(|| Ok(Usage::default()), Cache::usage);
    let Usage { jobs, size_bytes } = usage.map_err(wording::failure)?;
    let remotes = cache.as_ref().map_or_else(|| Ok(BTreeMap::new()), Cache::remotes).map_err(wording::failure)?;
    let directory = dir.path()?.display().to_string();
    if as_json {
        let remotes: Vec<_> = remotes.iter().map(|(maker, jobs)| json!({"maker": maker, "jobs": jobs})).collect();
        let json = json!({"directory": directory, "jobs": jobs, "size-bytes": size_bytes, "remotes": remotes});
        return Ok(print_json(&json)?);
    }
    let mut text = format!("{directory}: {}, {}\n", count(jobs), bytes(size_bytes));
    for (maker, jobs) in remotes {
        text += &format!("{} made by {maker}\n", count(jobs));
    }
    Ok(print(&text)?)
}

fn gc(dir: &CacheDir, max_size: Size) -> Result<(), Failures> {
    let collected = dir.open_existing()?.map_or_else(|| Ok(Collected::default()), |cache| cache.collect(max_size));
    let collected = collected.map_err(Failure::from)?;
    let show = |usage: Usage| format!("{}, {}", count(usage.jobs), bytes(usage.size_bytes));
    Ok(print(&format!("removed {}; left {}\n", show(collected.removed), show(collected.left)))?)
}

fn count(jobs: u64) -> String {
    if jobs == 1 { "1 job".to_owned() } else { format!("{jobs} jobs") }
}
