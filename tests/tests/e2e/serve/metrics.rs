//! What is counted, the page that shows it, and the documentation that explains it.

use isomer_testing::http_client::{get, request};
use isomer_tests::confined::{Confinement, Deny};
use isomer_tests::native::{native, pulley};
use isomer_tests::served::{FAULTY, TWO, Versions, serve};
use isomer_tests::{Call, guest, isomer, isomer_run, root, scratch, skip, wait_until};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// The names of metrics with the names of their labels.
fn printed(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut printed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap());
        let labels = rest.strip_prefix('{').and_then(|rest| rest.rsplit_once('}')).map_or("", |(labels, _)| labels);
        let names = labels.split("\",").filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
        printed.entry(name.to_owned()).or_default().extend(names);
    }
    printed
}

/// Names in a query that begin with the prefix of all metrics.
fn metrics_in(query: &str) -> BTreeSet<String> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("isomer_")).map(str::to_owned).collect()
}

/// Names of labels that a query groups by.
fn groups_in(query: &str) -> BTreeSet<String> {
    let groups = query.split("by (").skip(1).filter_map(|rest| rest.split_once(')'));
    groups.flat_map(|(group, _)| group.split(',').map(|label| label.trim().to_owned())).collect()
}

/// A server to which everything has happened that is counted.
fn counted() -> (String, isomer_tests::served::Served) {
    let versions = Versions::new();
    let options = "serve --addr 127.0.0.1:0 --watch --health /echo --timeout 1s --status-addr 127.0.0.1:0 hello";
    let served = serve(versions.call(options), scratch());
    let status = served.status_address();
    served.wait_for_version("first");
    assert_eq!(served.get("/trap").status, 500);
    let mut cut = served.connect();
    cut.send(request("GET", "/never", &[], b"")).unwrap();
    assert_eq!(cut.receive().unwrap().status, 504);
    versions.activate(TWO);
    served.wait_for_version("later");
    versions.activate(FAULTY);
    served.wait_for_log("its health request");
    wait_until("the refused version is counted", || {
        get(status, "/metrics").unwrap().text().contains("reason=\"refused\"")
    });
    (get(status, "/metrics").unwrap().text(), served)
}

#[test]
fn every_metric_of_the_dashboard_is_printed_and_documented() {
    let (text, served) = counted();
    let mut printed = printed(&text);
    // A choice that is the best one steps down from none.
    printed
        .entry("isomer_step_down".to_owned())
        .or_insert_with(|| ["route", "version", "better"].map(str::to_owned).into());
    let dashboard = fs::read_to_string(root().join("packaging/grafana/isomer-run-serve.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let queries: Vec<_> = targets.map(|target| target["expr"].as_str().unwrap()).collect();
    assert!(queries.len() >= 12, "{} queries", queries.len());
    for query in &queries {
        let metrics = metrics_in(query);
        assert!(!metrics.is_empty(), "{query}");
        // Prometheus adds the server's address.
        let labels = metrics.iter().filter_map(|metric| printed.get(metric)).flatten().map(String::as_str);
        let labels: BTreeSet<_> = labels.chain(["instance"]).collect();
        for metric in metrics {
            assert!(printed.contains_key(&metric), "{query}: {metric} is not in\n{text}\n{}", served.log());
        }
        for group in groups_in(query) {
            assert!(labels.contains(group.as_str()), "{query}: {group} is not among {labels:?}");
        }
    }
    // Each is documented, and nothing else is.
    let documentation = fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let documented = metrics_in(&documentation);
    let families: BTreeSet<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let families: BTreeSet<_> = families
        .into_iter()
        .map(|(name, kind)| if kind == "counter" { format!("{name}_total") } else { name.to_owned() })
        .chain(["isomer_step_down".to_owned()])
        .collect();
    assert_eq!(documented, families);
}

#[test]
fn metrics_show_what_was_chosen_and_what_became_of_it() {
    let (text, _served) = counted();
    let version = |version: &str| text.lines().any(|line| line.starts_with("isomer_live{") && line.contains(version));
    assert!(version("hello:2.0.0") && !version("hello:1.0.0"), "{text}");
    let variant = text.lines().find(|line| line.starts_with("isomer_variant{")).unwrap();
    assert!(variant.contains("version=\"hello:2.0.0") && variant.contains("target=\"served\""), "{variant}");
    assert!(variant.contains("load_path=\"mapped\"") || variant.contains("load_path=\"copied\""), "{variant}");
    for line in [
        "isomer_switches_total{route=\"/\",reason=\"switched\"} 1",
        "isomer_switches_total{route=\"/\",reason=\"refused\"} 1",
        "isomer_refused_total{route=\"/\",reason=\"request-time\"} 1",
        // One of a request, and one of the health request of the version that was refused.
        "isomer_traps_total{route=\"/\",code=\"UnreachableCodeReached\"} 2",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn a_step_down_is_shown_with_its_reason() {
    // Nothing may be executed but programs: the interpreter is left.
    let confinements = [Deny::executable_protection(), Deny::executable_mapping()].map(Confinement::Deny);
    if let Some(reason) = confinements.iter().find_map(Confinement::unavailable) {
        return skip("a_step_down_is_shown_with_its_reason", &reason);
    }
    let directory = scratch();
    let (better, pulley) = (native().baseline, pulley());
    let manifest = format!(
        "[release]\nname = 'r'\nversion = '1.0.0'\ntargets = ['{better}', '{pulley}']\n[[module]]\npath = '{}'\n",
        guest("proxy").display()
    );
    fs::write(directory.path().join("isomer.toml"), manifest).unwrap();
    isomer().line("release -o dist").dir(directory.path()).ok();
    let server = |options: &str| {
        let line = format!("serve --allow-unsigned --addr 127.0.0.1:0 {options} dist/ proxy");
        confinements.iter().cloned().fold(isomer_run().line(&line).dir(directory.path()), Call::confined)
    };
    let explained = server("--explain").ok().stdout();
    assert!(explained.contains(&format!("  better, but not here: {better}: it ")), "{explained}");
    let served = serve(server("--status-addr 127.0.0.1:0"), scratch());
    served.serves_others();
    let text = get(served.status_address(), "/metrics").unwrap().text();
    let version = format!("route=\"/\",version=\"proxy:1.0.0 ({pulley})\"");
    for line in [
        format!("isomer_step_down{{{version},better=\"{better}\"}} 1"),
        format!("isomer_variant{{{version},target=\"{pulley}\",load_path=\"copied\"}} 1"),
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}
