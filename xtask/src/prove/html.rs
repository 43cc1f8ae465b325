//! In: a [`Report`]. Out: one page of HTML that needs no other file, is readable in light and dark, and counts its own
//! cells, so that a browser can be asked whether it shows what the report says.

use super::report::{Cell, Compared, Refusal, Report, State, Suite};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The name of a state in the page.
pub(super) fn class(state: State) -> &'static str {
    match state {
        State::Passed => "passed",
        State::Failed => "failed",
        State::Skipped => "skipped",
        State::Inexpressible => "inexpressible",
    }
}

pub(super) fn page(report: &Report) -> String {
    let failed = report.failed();
    let verdict = if failed == 0 {
        "<span class=\"verdict passed\">nothing failed</span>".to_owned()
    } else {
        format!("<span class=\"verdict failed\">{failed} failed</span>")
    };
    [
        HEAD,
        &format!("<header><h1>Does every target run, and run right?</h1>{verdict}</header>\n"),
        &tiles(report),
        &matrix(report),
        &refusals(report),
        &conformance(report),
        &differential(report),
        &reasons(report),
        SCRIPT,
    ]
    .concat()
}

fn tiles(report: &Report) -> String {
    let calls: usize = report.matrix.iter().map(|cell| cell.cases).sum();
    let commands: usize = report.conformance.iter().map(|suite| suite.commands).sum();
    let modules: usize = report.differential.iter().map(|compared| compared.modules).sum();
    let refused = report.refusals.iter().filter(|refusal| refusal.state == State::Passed).count();
    let tile = |number: usize, what: &str| format!("<div class=tile><b>{number}</b><span>{what}</span></div>");
    format!(
        "<section class=tiles>{}{}{}{}</section>\n",
        tile(calls, "calls of guests, each as it is natively"),
        tile(refused, "CPUs that lack an extension, refused by its name"),
        tile(commands, "commands of the specification's suite"),
        tile(modules, "random modules, equal under all profiles")
    )
}

fn matrix(report: &Report) -> String {
    let guests = report.guests();
    let mut text = String::from(
        "<section><h2>Guests on targets</h2>\n<div class=scroll><table class=matrix>\n<tr><th>target</th>",
    );
    for guest in &guests {
        text += &format!("<th class=slanted><span>{}</span></th>", escaped(guest));
    }
    text += "<th>on</th></tr>\n";
    for target in report.targets() {
        text += &format!("<tr><th scope=row>{}</th>", escaped(target));
        let mut on = "–";
        for guest in &guests {
            match report.cell(target, guest) {
                Some(cell) => {
                    on = &cell.on;
                    text += &matrix_cell(cell);
                }
                None => text += "<td></td>",
            }
        }
        text += &format!("<td class=on>{}</td></tr>\n", escaped(on));
    }
    let legend = [
        (State::Passed, "as natively, with the number of calls"),
        (State::Failed, "otherwise"),
        (State::Skipped, "no such CPU at hand"),
        (State::Inexpressible, "the target has no code for what the guest uses"),
    ];
    text += "</table></div>\n<p class=legend>";
    for (state, words) in legend {
        let class = class(state);
        let _ =
            write!(text, "<span class=\"key {class}\">{}</span> <b id=\"counted-{class}\"></b> {words} ", sign(state));
    }
    text + "</p></section>\n"
}

fn matrix_cell(cell: &Cell) -> String {
    let title = cell.reason.as_deref().unwrap_or(&cell.on);
    let shown = if cell.state == State::Passed { cell.cases.to_string() } else { sign(cell.state).to_owned() };
    format!("<td class=\"cell {}\" title=\"{}\">{shown}</td>", class(cell.state), escaped(title))
}

fn sign(state: State) -> &'static str {
    match state {
        State::Passed => "n",
        State::Failed => "✗",
        State::Skipped => "·",
        State::Inexpressible => "∅",
    }
}

fn refusals(report: &Report) -> String {
    let row = |refusal: &Refusal| {
        let lacks = refusal.lacks.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        row(&[
            Text::Name(&refusal.target),
            Text::Plain(&refusal.cpu),
            Text::Plain(&lacks),
            Text::State(refusal.state, &refusal.output),
        ])
    };
    let rows: String = report.refusals.iter().map(row).collect();
    let ended = |(target, cpu, ended): &(String, String, String)| {
        let words = match ended.as_str() {
            "IllegalInstruction" => "killed by SIGILL",
            "WrongTrap" => "a trap that the guest did not cause: wasmtime takes the SIGILL for it",
            _ => "a wrong result, without a trap",
        };
        self::row(&[Text::Name(target), Text::Plain(cpu), Text::Plain(words)])
    };
    let ended: String = report.controls.iter().map(ended).collect();
    format!(
        "<section><h2>CPUs that lack an extension</h2>\n<p>Refused before anything runs, and by that name.</p>\n{}\
         <h3>What that prevents</h3>\n<p>The same code on such a CPU, loaded without the check.</p>\n{}</section>\n",
        table(&["target", "CPU", "lacks", "output"], &rows),
        table(&["target", "CPU", "ends as"], &ended)
    )
}

fn conformance(report: &Report) -> String {
    let public = if report.public.is_empty() {
        String::new()
    } else {
        format!(
            "<section><h2>Public suites</h2>\n<p>wasmtime's own scripts, the component model's, and the programs of the \
             WASI suite, which isomer-run runs.</p>\n{}</section>\n",
            suites(&report.public)
        )
    };
    format!(
        "<section><h2>The specification's test suite</h2>\n<p>Every script: compiled, written, loaded, run; what is \
         invalid or malformed is refused.</p>\n{}</section>\n{public}",
        suites(&report.conformance)
    )
}

fn suites(suites: &[Suite]) -> String {
    let suite = |suite: &Suite| {
        let state = match (&suite.reason, suite.failed.is_empty()) {
            (Some(_), _) => State::Skipped,
            (None, true) => State::Passed,
            (None, false) => State::Failed,
        };
        let [passed, commands, failed, skipped] =
            [suite.passed, suite.commands, suite.failed.len(), suite.skipped].map(|number| number.to_string());
        let faults: Vec<_> = suite.failed.iter().take(20).map(|(script, why)| format!("{script}: {why}")).collect();
        let words = suite.reason.clone().unwrap_or_else(|| faults.join("\n"));
        row(&[
            Text::Plain(&suite.suite),
            Text::Name(&suite.profile),
            Text::Plain(&suite.on),
            Text::Number(&passed),
            Text::Number(&commands),
            Text::Number(&failed),
            Text::Number(&skipped),
            Text::State(state, &words),
        ])
    };
    let rows: String = suites.iter().map(suite).collect();
    table(&["suite", "profile", "on", "passed", "commands", "failed", "known failures", ""], &rows)
}

fn differential(report: &Report) -> String {
    let compared = |compared: &Compared| {
        let state = match (&compared.reason, compared.divergences.is_empty()) {
            (Some(_), _) => State::Skipped,
            (None, true) => State::Passed,
            (None, false) => State::Failed,
        };
        let [modules, profiles, steps] =
            [compared.modules, compared.profiles, compared.steps].map(|number| number.to_string());
        let words = compared.reason.clone().unwrap_or_else(|| compared.divergences.join("\n"));
        row(&[
            Text::Plain(&compared.on),
            Text::Number(&modules),
            Text::Number(&profiles),
            Text::Number(&steps),
            Text::State(state, &words),
        ])
    };
    let rows: String = report.differential.iter().map(compared).collect();
    format!(
        "<section><h2>Random modules</h2>\n<p>The same results, traps and bytes of memory under every profile.</p>\n{}\
         </section>\n",
        table(&["on", "modules", "profiles", "steps compared", ""], &rows)
    )
}

/// Everything grey, with its reason, once.
fn reasons(report: &Report) -> String {
    let mut by_reason: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for cell in &report.matrix {
        if let Some(reason) = cell.reason.as_deref().filter(|_| cell.state != State::Failed) {
            let what = match cell.state {
                State::Skipped => cell.target.clone(),
                _ => format!("{} for {}", cell.guest, cell.target),
            };
            let list = by_reason.entry(reason).or_default();
            if !list.contains(&what) {
                list.push(what);
            }
        }
    }
    let mut issues: BTreeMap<&str, &str> = BTreeMap::new();
    for skip in report.skips.iter().chain(&report.known) {
        by_reason.entry(&skip.reason).or_default().extend(skip.scripts.iter().cloned());
        issues.extend(skip.issue.as_deref().map(|issue| (skip.reason.as_str(), issue)));
    }
    let issue = |reason| issues.get(reason).copied().unwrap_or_default();
    let rows = by_reason
        .iter()
        .map(|(reason, what)| row(&[Text::Plain(reason), Text::Plain(issue(*reason)), Text::Plain(&what.join(", "))]));
    let rows: String = rows.collect();
    format!("<section><h2>What was not run, and why</h2>\n{}</section>\n", table(&["reason", "issue", "what"], &rows))
}

enum Text<'a> {
    Name(&'a str),
    Plain(&'a str),
    Number(&'a str),
    State(State, &'a str),
}

fn row(cells: &[Text<'_>]) -> String {
    let cell = |cell: &Text<'_>| match cell {
        Text::Name(text) => format!("<th scope=row>{}</th>", escaped(text)),
        Text::Plain(text) => format!("<td>{}</td>", escaped(text)),
        Text::Number(text) => format!("<td class=number>{}</td>", escaped(text)),
        Text::State(state, text) => {
            let mark = if *state == State::Passed { "✓" } else { sign(*state) };
            format!("<td><span class=\"key {}\">{mark}</span> {}</td>", class(*state), escaped(text))
        }
    };
    format!("<tr>{}</tr>\n", cells.iter().map(cell).collect::<String>())
}

fn table(headings: &[&str], rows: &str) -> String {
    if rows.is_empty() {
        return "<p class=nothing>Not run.</p>\n".to_owned();
    }
    let headings: String = headings.iter().map(|heading| format!("<th>{heading}</th>")).collect();
    format!("<div class=scroll><table>\n<tr>{headings}</tr>\n{rows}</table></div>\n")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\n', "<br>")
}

const HEAD: &str = r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>isomer: the proof</title>
<style>
:root { color-scheme: light dark; --line: light-dark(#ddd, #3a3f45); --soft: light-dark(#f6f7f8, #1d2024); --quiet: light-dark(#666, #9aa0a6);
  --green: light-dark(#d5f0dc, #17452a); --red: light-dark(#ffd9d6, #6d1f1f); --grey: light-dark(#eceef0, #2c3036); --blue: light-dark(#e3ecfb, #22324d); }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 90rem; margin: 0 auto; padding: 1.5rem; background: light-dark(#fff, #14161a); color: light-dark(#1b1e22, #e4e6e8); }
header { display: flex; align-items: baseline; gap: 1rem; flex-wrap: wrap; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.2rem; margin: 2rem 0 .4rem; } h3 { font-size: 1rem; margin: 1.2rem 0 .2rem; }
p { margin: .2rem 0 .6rem; color: var(--quiet); }
.verdict, .key { border-radius: .3rem; padding: .05rem .5rem; font-weight: 600; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); gap: .8rem; margin-top: 1rem; }
.tile { background: var(--soft); border: 1px solid var(--line); border-radius: .5rem; padding: .7rem 1rem; }
.tile b { display: block; font-size: 1.7rem; font-variant-numeric: tabular-nums; } .tile span { color: var(--quiet); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { text-align: left; padding: .22rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
tr > th[scope=row] { font-weight: 500; font-family: ui-monospace, monospace; white-space: nowrap; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.matrix td.cell { text-align: center; min-width: 2rem; border: 2px solid light-dark(#fff, #14161a); border-radius: .3rem; font-variant-numeric: tabular-nums; }
.matrix tr:first-child th { vertical-align: bottom; } .matrix th.slanted { padding: .6rem .2rem .3rem; } .matrix th.slanted span { writing-mode: sideways-lr; font-weight: 500; white-space: nowrap; }
.matrix td.on { color: var(--quiet); font-size: .82rem; overflow-wrap: anywhere; }
.passed { background: var(--green); } .failed { background: var(--red); } .skipped { background: var(--grey); } .inexpressible { background: var(--blue); }
.legend .key { margin-left: .8rem; } .legend .key:first-child { margin-left: 0; } .nothing { font-style: italic; }
</style></head><body>
"#;

/// What is counted is what the browser made of the page, not what it was made of.
const SCRIPT: &str = r#"<script>
for (const state of ["passed", "failed", "skipped", "inexpressible"])
  document.getElementById("counted-" + state).textContent = document.querySelectorAll("td.cell." + state).length;
</script></body></html>
"#;
