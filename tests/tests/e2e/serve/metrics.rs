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

/// Names of labels that a query groups by, joins by, or requires a value of.
fn labels_in(query: &str) -> BTreeSet<String> {
    let lists = |opening: &'static str| query.split(opening).skip(1).filter_map(|rest| rest.split_once(')'));
    let lists = ["by (", "on (", "group_left ("].into_iter().flat_map(lists);
    let listed = lists.flat_map(|(list, _)| list.split(',').map(|label| label.trim().to_owned()));
    let matchers = query.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
    let matched = matchers.flat_map(|(matchers, _)| {
        matchers.split(',').map(|matcher| matcher.split(['=', '!']).next().unwrap_or(matcher).trim().to_owned())
    });
    listed.chain(matched).collect()
}

/// Names of labels in the text for each line of a graph.
fn labels_of_legend(legend: &str) -> BTreeSet<String> {
    let names = legend.split("{{").skip(1).filter_map(|rest| rest.split_once("}}"));
    names.map(|(label, _)| label.trim().to_owned()).collect()
}

/// A query of the dashboard, with the text for each of its lines.
struct Query {
    query: String,
    legend: String,
}

/// Those of panels, of variables and of annotations.
fn queries() -> Vec<Query> {
    let dashboard = fs::read_to_string(root().join("packaging/grafana/isomer-run-serve.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    let list = |value: &serde_json::Value| value.as_array().unwrap().clone();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let targets = list(&dashboard["panels"]).into_iter().flat_map(|panel| match &panel["type"] {
        row if row == "row" => Vec::new(),
        _ => list(&panel["targets"]),
    });
    let of_panels = targets.map(|target| Query { query: text(&target["expr"]), legend: text(&target["legendFormat"]) });
    let variables = list(&dashboard["templating"]["list"]).into_iter().filter(|variable| variable["type"] == "query");
    let of_variables = variables.map(|variable| {
        let query = text(&variable["query"]["query"]);
        let (metric, label) = query.trim_start_matches("label_values(").trim_end_matches(')').rsplit_once(',').unwrap();
        Query { query: metric.to_owned(), legend: format!("{{{{{}}}}}", label.trim()) }
    });
    let annotations = list(&dashboard["annotations"]["list"]);
    let of_annotations = annotations.iter().map(|annotation| {
        let legend = text(&annotation["titleFormat"]) + &text(&annotation["textFormat"]);
        Query { query: text(&annotation["expr"]), legend }
    });
    of_panels.chain(of_variables).chain(of_annotations).collect()
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
        get(status, "/metrics").unwrap().text().contains("isomer_switches_total{route=\"/\",reason=\"refused\"} 1")
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
    let queries = queries();
    assert!(queries.len() >= 30, "{} queries", queries.len());
    for Query { query, legend } in &queries {
        let metrics = metrics_in(query);
        assert!(!metrics.is_empty(), "{query}");
        // Prometheus adds the server's address.
        let labels = metrics.iter().filter_map(|metric| printed.get(metric)).flatten().map(String::as_str);
        let labels: BTreeSet<_> = labels.chain(["instance"]).collect();
        for metric in metrics {
            assert!(printed.contains_key(&metric), "{query}: {metric} is not in\n{text}\n{}", served.log());
        }
        for label in labels_in(query).union(&labels_of_legend(legend)) {
            assert!(labels.contains(label.as_str()), "{query}, {legend}: {label} is not among {labels:?}");
        }
    }
    // Each is documented, and nothing else is.
    let documentation = fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let documented = metrics_in(&documentation);
    let families: BTreeSet<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let families: BTreeSet<_> = families
        .into_iter()
        .map(|(name, kind)| match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        })
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
