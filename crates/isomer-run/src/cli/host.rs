//! `isomer-run host`: what this machine is.

use isomer_contract::{Demand, Host, Kind, Profile, Rejected, Variant, profile, select};
use isomer_terminal::Failure;
use std::fmt::Write;
use std::process::ExitCode;

#[derive(clap::Args)]
#[command(after_help = "Examples:
  isomer-run host
  isomer-run host --json > edge-box.json          # a host file, to be used anywhere:
  isomer-run select dist/ resize --host edge-box.json --explain")]
pub(crate) struct Arguments {
    /// Print a host file, which `--host` of the other commands reads
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let host = isomer_runtime::host::described()
        .map_err(|error| Failure::because("cannot tell what this machine can run", &error))?;
    if arguments.json {
        isomer_terminal::print_json(&host)?;
    } else {
        isomer_terminal::print(&describe(&host))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(host: &Host) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{key:<14}{value}");
    };
    line("architecture", &host.arch.to_string());
    line("system", &host.os);
    line("cpu", host.cpu.as_deref().unwrap_or("unknown"));
    line("engine", &format!("wasmtime {}", host.engine));
    if !host.native_code {
        line("native code", "denied: this system lets no memory become executable");
    }
    for (index, names) in wrapped(host.isa.iter().map(String::as_str)).iter().enumerate() {
        line(if index == 0 { "extensions" } else { "" }, names);
    }
    line("", "");
    let targets = runnable_targets(host);
    line("targets", if targets.is_empty() { "none of the shipped ones" } else { "that it can run, best first" });
    for target in targets {
        let description = Profile::shipped(&target).map(|profile| profile.description).unwrap_or_default();
        line("", &format!("{target:<16}  {description}"));
    }
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// The shipped profiles as if they were the variants of a module, in the order in which one would be chosen.
fn runnable_targets(host: &Host) -> Vec<String> {
    let shipped = profile::shipped_names().filter_map(Profile::shipped);
    let variants: Vec<_> = shipped.map(|profile| Variant::of_profile(&profile, Kind::Module, &host.engine)).collect();
    let selection = select(&variants, host, &Demand::default());
    let others = selection.rejected.iter().filter(|(_, why)| matches!(why, Rejected::Outranked(_)));
    let runnable = selection.chosen.into_iter().chain(others.map(|(variant, _)| *variant));
    runnable.map(|variant| variant.target.clone()).collect()
}

/// The names in lines of no more than 80 characters.
fn wrapped<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for name in names {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + name.len() <= 80 => {
                line.push(' ');
                line.push_str(name);
            }
            _ => lines.push(name.to_owned()),
        }
    }
    if lines.is_empty() { vec!["none".to_owned()] } else { lines }
}
