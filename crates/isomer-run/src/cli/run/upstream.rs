//! `-S`, `-W` and `-O` as `wasmtime run` has them. In: `-S inherit-env,config-var=a=b`. Out: what means the same, or an error
//! that names the option to use. Never here: an option that is accepted and does nothing that the user would miss.

use crate::cli::grant_options::with_hint;
use isomer_contract::nearest;
use isomer_guest::{GrantError, Grants, Limits, Pattern, parse_count, parse_duration, parse_size};

/// wasmtime's option groups.
#[derive(clap::Args, Default)]
#[command(next_help_heading = "Options of wasmtime")]
pub(super) struct UpstreamOptions {
    /// wasmtime's options for WASI, where they mean the same: inherit-env, inherit-network, http, config-var=N=V, …
    #[arg(short = 'S', value_name = "OPTIONS", value_delimiter = ',', value_parser = wasi)]
    wasi: Vec<String>,
    /// wasmtime's options for WebAssembly, where they mean the same: fuel=N, timeout=T, max-memory-size=N, …
    #[arg(short = 'W', value_name = "OPTIONS", value_delimiter = ',', value_parser = wasm)]
    wasm: Vec<String>,
    /// wasmtime's options for the code generator; those of a compiled artifact were decided when it was compiled
    #[arg(short = 'O', value_name = "OPTIONS", value_delimiter = ',', value_parser = optimize)]
    optimize: Vec<String>,
}

/// What the options state.
#[derive(Default)]
pub(super) struct Stated {
    pub(super) grants: Grants,
    pub(super) limits: Limits,
    /// The guest's current directory.
    pub(super) cwd: Option<String>,
}

/// What one of wasmtime's options is here.
enum Meaning {
    /// It states something, with the value as typed, empty for `y`.
    Set(fn(&mut Stated, &str) -> Result<(), GrantError>),
    /// It states a text.
    Text(fn(&mut Stated, String)),
    /// It is so in any case; only switching it off is an error, with this hint.
    Always(&'static str),
    /// It is something else here; what to do.
    Other(&'static str),
}
use Meaning::{Always, Other, Set, Text};

const PROFILE: &str = "it was decided when the artifact was compiled: set it in the profile and compile again";
const PROPOSALS: &str = "proposals are part of the artifact: they were decided when it was compiled";
const POOL: &str = "one guest runs alone, without a pool; `isomer-run serve` has one";

const WASI: &[(&str, Meaning)] = &[
    ("cli-exit-with-code", Always("it is a part of WASI 0.2.12")),
    ("cli", Always("what is not granted is denied in any case")),
    ("preview2", Always("which WASI a guest is given follows from what it imports")),
    ("p3", Always("which WASI a guest is given follows from what it imports")),
    ("tcp", Always("without `--allow-net` there is none")),
    ("udp", Always("without `--allow-net` there is none")),
    (
        "inherit-env",
        Set(|stated, _| {
            stated.grants.inherit_env.push(Pattern::all());
            Ok(())
        }),
    ),
    ("cwd", Text(|stated, value| stated.cwd = Some(value))),
    ("inherit-stdin", Always("`--stdin null`")),
    ("inherit-stdout", Always("`--stdout null`")),
    ("inherit-stderr", Always("`--stderr null`")),
    ("inherit-network", Set(|stated, _| net(&mut stated.grants, &["tcp:*", "udp:*", "tcp-listen:*", "udp-listen:*"]))),
    ("allow-ip-name-lookup", Set(|stated, _| net(&mut stated.grants, &["dns:*"]))),
    (
        "http",
        Set(|stated, _| {
            stated.grants.allow_http.push("*:1-65535".parse()?);
            Ok(())
        }),
    ),
    ("config", Always("without `--config-var` it is empty")),
    ("config-var", Set(|stated, value| stated.grants.config.insert(value))),
    (
        "keyvalue",
        Set(|stated, _| {
            stated.grants.keyvalue.get_or_insert_default();
            Ok(())
        }),
    ),
    ("keyvalue-in-memory-data", Set(|stated, value| stated.grants.keyvalue.get_or_insert_default().insert(value))),
    ("max-resources", Set(handles)),
    ("max-component-handles", Set(handles)),
    ("nn", Other("wasi-nn is not built in: embed the artifact, with the crate `wasmtime-wasi-nn`")),
    ("nn-graph", Other("wasi-nn is not built in: embed the artifact, with the crate `wasmtime-wasi-nn`")),
    ("threads", Other("wasmtime has no wasi-threads any more: build the module for one thread")),
    (
        "tls",
        Set(|stated, _| {
            stated.grants.allow_tls = true;
            Ok(())
        }),
    ),
    ("listenfd", Other("pass addresses by `--allow-net tcp-listen:ADDRESS:PORT`; `isomer-run serve` takes sockets")),
    ("tcplisten", Other("`--allow-net tcp-listen:ADDRESS:PORT`")),
    ("common", Other("options are named one by one")),
    ("network-error-code", Other("it is a draft that is not provided")),
    ("hostcall-fuel", Other("it has wasmtime's default here")),
    ("max-random-size", Other("it has wasmtime's default here")),
    ("max-http-fields-size", Other("it has wasmtime's default here")),
    ("http-outgoing-body-buffer-chunks", Other("it has wasmtime's default here")),
    ("http-outgoing-body-chunk-size", Other("it has wasmtime's default here")),
    ("preview0", Always("which WASI a guest is given follows from what it imports")),
];

const WASM: &[(&str, Meaning)] = &[
    ("fuel", Set(|stated, value| set(&mut stated.limits.fuel, parse_count(value)?))),
    (
        "timeout",
        Set(|stated, value| {
            // There, a number alone is one of seconds.
            let is_number = value.bytes().all(|byte| byte.is_ascii_digit());
            let value = if is_number { format!("{value}s") } else { value.to_owned() };
            set(&mut stated.limits.timeout, parse_duration(&value)?)
        }),
    ),
    ("max-memory-size", Set(|stated, value| set(&mut stated.limits.max_memory, parse_size(value)?))),
    ("max-table-elements", Set(|stated, value| set(&mut stated.limits.max_table_elements, parse_count(value)?))),
    ("max-instances", Set(|stated, value| set(&mut stated.limits.max_instances, parse_count(value)?))),
    ("max-wasm-stack", Set(|stated, value| set(&mut stated.limits.max_stack, parse_size(value)?))),
    ("max-tables", Other("`--max-table-elements` bounds all tables together")),
    ("max-memories", Other("`--max-memory` bounds all memories together")),
    (
        "trap-on-grow-failure",
        Other("a guest is told that it got no memory; if it then fails, the error names the limit"),
    ),
    ("async-stack-size", Other("`--max-stack`: the rest follows from it")),
    ("async-stack-zeroing", Other("one guest runs alone: nothing of another is on its stack")),
    ("unknown-imports-trap", Other("what a guest imports and is not provided is an error before it runs")),
    ("unknown-imports-default", Other("what a guest imports and is not provided is an error before it runs")),
    ("unknown-exports-allow", Other("exports that are not called do no harm: leave it out")),
    (
        "epoch-interruption",
        Other("`--timeout`; with an artifact that was compiled with `epoch-interruption`, the guest traps"),
    ),
    ("nan-canonicalization", Other(PROFILE)),
    ("relaxed-simd-deterministic", Other(PROFILE)),
    ("shared-memory", Other(PROPOSALS)),
    ("all-proposals", Other(PROPOSALS)),
    ("async-proposals", Other(PROPOSALS)),
    ("bulk-memory", Other(PROPOSALS)),
    ("component-model", Other(PROPOSALS)),
    ("component-model-async", Other(PROPOSALS)),
    ("exceptions", Other(PROPOSALS)),
    ("extended-const", Other(PROPOSALS)),
    ("function-references", Other(PROPOSALS)),
    ("gc", Other(PROPOSALS)),
    ("memory64", Other(PROPOSALS)),
    ("multi-memory", Other(PROPOSALS)),
    ("multi-value", Other(PROPOSALS)),
    ("reference-types", Other(PROPOSALS)),
    ("relaxed-simd", Other(PROPOSALS)),
    ("simd", Other(PROPOSALS)),
    ("stack-switching", Other(PROPOSALS)),
    ("tail-call", Other(PROPOSALS)),
    ("threads", Other(PROPOSALS)),
    ("wide-arithmetic", Other(PROPOSALS)),
];

const OPTIMIZE: &[(&str, Meaning)] = &[
    ("opt-level", Other(PROFILE)),
    ("memory-reservation", Other(PROFILE)),
    ("memory-guard-size", Other(PROFILE)),
    ("memory-may-move", Other(PROFILE)),
    ("memory-init-cow", Other(PROFILE)),
    ("signals-based-traps", Other(PROFILE)),
    ("guard-before-linear-memory", Other(PROFILE)),
    ("table-lazy-init", Other(PROFILE)),
    ("pooling-allocator", Other(POOL)),
    ("memory-protection-keys", Other(POOL)),
    ("pagemap-scan", Other(POOL)),
];

fn set<T>(limit: &mut Option<T>, value: T) -> Result<(), GrantError> {
    *limit = Some(value);
    Ok(())
}

fn net(grants: &mut Grants, rules: &[&str]) -> Result<(), GrantError> {
    for rule in rules {
        grants.allow_net.push(rule.parse()?);
    }
    Ok(())
}

fn handles(stated: &mut Stated, value: &str) -> Result<(), GrantError> {
    let (handles, limits) = (parse_count(value)?, &mut stated.limits);
    limits.max_handles = Some(limits.max_handles.map_or(handles, |earlier| earlier.min(handles)));
    Ok(())
}

impl UpstreamOptions {
    /// What these options state.
    pub(super) fn read(&self) -> Stated {
        let mut stated = Stated::default();
        for (table, typed) in [(WASI, &self.wasi), (WASM, &self.wasm), (OPTIMIZE, &self.optimize)] {
            for text in typed {
                // It was read when the command line was.
                let _ = one("", table, text, &mut stated);
            }
        }
        stated
    }
}

fn wasi(text: &str) -> Result<String, String> {
    checked("-S", WASI, text)
}

fn wasm(text: &str) -> Result<String, String> {
    checked("-W", WASM, text)
}

fn optimize(text: &str) -> Result<String, String> {
    checked("-O", OPTIMIZE, text)
}

fn checked(group: &str, table: &[(&str, Meaning)], text: &str) -> Result<String, String> {
    one(group, table, text, &mut Stated::default()).map(|()| text.to_owned())
}

/// Applies one option, or says what to do instead.
fn one(group: &str, table: &[(&str, Meaning)], text: &str, stated: &mut Stated) -> Result<(), String> {
    let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
    let is_on = matches!(value, None | Some("y" | "yes" | "true"));
    let is_off = matches!(value, Some("n" | "no" | "false"));
    let refused = |hint: &str| Err(format!("it is not provided\n  hint: {hint}"));
    let pooling = name.starts_with("pooling-").then_some(&Other(POOL));
    match table.iter().find(|(key, _)| *key == name).map(|(_, meaning)| meaning).or(pooling) {
        Some(Always(_)) if is_on => Ok(()),
        Some(Always(hint) | Other(hint)) => refused(hint),
        Some(Text(apply)) => match value {
            Some(value) if !value.is_empty() => {
                apply(stated, value.to_owned());
                Ok(())
            }
            _ => Err(format!("expected {name}=VALUE")),
        },
        // What is granted by an option is not granted without it.
        Some(Set(_)) if is_off => Ok(()),
        Some(Set(apply)) => apply(stated, value.unwrap_or_default()).map_err(|error| with_hint(&error)),
        None => match nearest(name, table.iter().map(|(key, _)| *key)) {
            Some(nearest) => Err(format!("an unknown option\n  hint: did you mean `{group} {nearest}`?")),
            None => Err("an unknown option\n  hint: `isomer-run run --help` lists what there is".to_owned()),
        },
    }
}
