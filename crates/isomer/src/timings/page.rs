//! The page itself: a picture with a lane for each worker, one of the machine's load below it on the same scale, and
//! tables. HTML with inline SVG; no script, no font, no address.

use super::sampler::Sample;
use super::{Ran, Totals};
use isomer_terminal::bytes;
use std::cmp::Reverse;
use std::fmt::Write as _;
use std::time::Duration;

/// The picture's width in its own units; the browser scales it.
const WIDTH: f64 = 1000.0;
/// What a lane of the picture and the graph below it are high.
const LANE: f64 = 18.0;
const GRAPH: f64 = 70.0;
/// A name is written only where there is room: units of width for a character.
const CHARACTER: f64 = 5.2;
/// How many of the slowest are listed.
const SLOWEST: usize = 40;

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1c1e21;--paper:#fff;--faint:#8a9099;--rule:#d9dde2;--job:#4c78c9;--on-job:#fff;\
--failed:#c23b3b;--load:#2f8f6b;--memory:#b0762a}\
@media(prefers-color-scheme:dark){:root{--ink:#e4e6ea;--paper:#16181c;--faint:#8d949e;--rule:#33383f;--job:#5b87d8;\
--on-job:#fff;--failed:#d65c5c;--load:#4cb48c;--memory:#d39b4e}}\
body{font:14px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:76rem;margin:2rem auto;\
padding:0 1rem}\
h1{font-size:1.4rem}h2{font-size:1.05rem;margin:2rem 0 .4rem}svg{width:100%;height:auto;display:block}\
svg text{font:9px system-ui,sans-serif;fill:var(--faint)}svg .name{fill:var(--on-job);font-size:8.5px}\
svg .job{fill:var(--job)}svg .failed{fill:var(--failed)}svg line{stroke:var(--rule)}\
svg polyline{fill:none;stroke-width:1.4}svg .load{stroke:var(--load)}svg .memory{stroke:var(--memory)}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums}td,th{padding:.15rem 1.2rem .15rem 0;text-align:left}\
th{color:var(--faint);font-weight:normal}td.n{text-align:right}.load-name{color:var(--load)}\
.memory-name{color:var(--memory)}";

pub(super) fn page(
    title: &str,
    workers: usize,
    total: Duration,
    ran: &[Ran],
    samples: &[Sample],
    totals: Totals,
) -> String {
    let title = escape(title);
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width\"/>\n<title>{title}: timings</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
    );
    page += &summary(workers, total, ran, samples, totals);
    page += "<h2>Jobs, by worker</h2>\n";
    page += &lanes_picture(ran, total);
    page += "<h2>The machine: <span class=\"load-name\">all cores</span>, \
             <span class=\"memory-name\">memory of isomer and its workers</span></h2>\n";
    page += &load_picture(samples, total);
    page += "<h2>The slowest jobs</h2>\n";
    page += &slowest(ran, total);
    page + "</body>\n</html>\n"
}

fn summary(workers: usize, total: Duration, ran: &[Ran], samples: &[Sample], totals: Totals) -> String {
    let Totals { compiled, reused, not_expressible, failed } = totals;
    let spent: Duration = ran.iter().map(|job| job.end.unwrap_or(total) - job.begin).sum();
    let busy = samples.iter().map(|sample| sample.busy).sum::<f64>() / samples.len().max(1) as f64;
    let peak = samples.iter().map(|sample| sample.memory_bytes).max().unwrap_or_default();
    let rows = [
        ("cells compiled", compiled.to_string()),
        ("cells reused or equal to another", reused.to_string()),
        ("cells not expressible", not_expressible.to_string()),
        ("cells failed", failed.to_string()),
        ("workers", workers.to_string()),
        ("time", seconds(total)),
        ("time in jobs, all workers together", seconds(spent)),
        ("cores busy, on average", format!("{:.0} %", busy * 100.0)),
        ("most memory at once", bytes(peak)),
    ];
    let row = |(name, value): &(&str, String)| format!("<tr><th>{name}</th><td class=\"n\">{value}</td></tr>\n");
    format!("<table>\n{}</table>\n", rows.iter().map(row).collect::<String>())
}

/// For each job the lane that it is drawn in: the first that is free when it begins.
fn lanes(ran: &[Ran], total: Duration) -> Vec<usize> {
    let mut free_from: Vec<Duration> = Vec::new();
    let lane = |job: &Ran| {
        let end = job.end.unwrap_or(total);
        match free_from.iter().position(|free| *free <= job.begin) {
            Some(lane) => {
                free_from[lane] = end;
                lane
            }
            None => {
                free_from.push(end);
                free_from.len() - 1
            }
        }
    };
    ran.iter().map(lane).collect()
}

fn lanes_picture(ran: &[Ran], total: Duration) -> String {
    let lanes = lanes(ran, total);
    let count = lanes.iter().max().map_or(1, |last| last + 1);
    let height = count as f64 * LANE;
    let mut svg = open_svg(height + 14.0, "when each job ran");
    svg += &time_scale(total, height);
    for (job, lane) in ran.iter().zip(&lanes) {
        let (begin, end) = (position(job.begin, total), position(job.end.unwrap_or(total), total));
        let (top, width) = (*lane as f64 * LANE + 1.0, (end - begin).max(0.6));
        let class = if job.failed { "failed" } else { "job" };
        let name = escape(&job.name);
        let took = seconds(job.end.unwrap_or(total) - job.begin);
        let _ = writeln!(
            svg,
            "<g><title>{name}, {took}</title><rect class=\"{class}\" x=\"{begin:.1}\" y=\"{top:.1}\" \
             width=\"{width:.1}\" height=\"{:.1}\" rx=\"1.5\"/>",
            LANE - 2.0
        );
        if width > CHARACTER * job.name.chars().count() as f64 + 6.0 {
            let _ =
                writeln!(svg, "<text class=\"name\" x=\"{:.1}\" y=\"{:.1}\">{name}</text>", begin + 3.0, top + 11.0);
        }
        svg += "</g>\n";
    }
    svg + "</svg>\n"
}

fn load_picture(samples: &[Sample], total: Duration) -> String {
    let peak = samples.iter().map(|sample| sample.memory_bytes).max().unwrap_or_default().max(1);
    let line = |class: &str, height: &dyn Fn(&Sample) -> f64| {
        let points = samples.iter().map(|sample| {
            format!("{:.1},{:.1}", position(sample.at, total), 2.0 + (GRAPH - 2.0) * (1.0 - height(sample)))
        });
        format!("<polyline class=\"{class}\" points=\"{}\"/>\n", points.collect::<Vec<_>>().join(" "))
    };
    let mut svg = open_svg(GRAPH + 14.0, "how busy the machine was");
    svg += &time_scale(total, GRAPH);
    svg += &line("load", &|sample| sample.busy.clamp(0.0, 1.0));
    svg += &line("memory", &|sample| sample.memory_bytes as f64 / peak as f64);
    let _ = writeln!(svg, "<text x=\"2\" y=\"9\">100 %, {}</text>", bytes(peak));
    svg + "</svg>\n"
}

fn open_svg(height: f64, label: &str) -> String {
    format!("<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{label}\">\n")
}

/// About ten marks at round times.
fn time_scale(total: Duration, height: f64) -> String {
    let tenth = (total.as_secs_f64() / 10.0).max(1e-3);
    let magnitude = 10_f64.powf(tenth.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * magnitude).into_iter().find(|step| *step >= tenth);
    let step = step.unwrap_or(10.0 * magnitude);
    let mut svg = String::new();
    for mark in 0..=(total.as_secs_f64() / step) as u32 {
        let time = Duration::from_secs_f64(f64::from(mark) * step);
        let x = position(time, total);
        let _ = writeln!(svg, "<line x1=\"{x:.1}\" y1=\"0\" x2=\"{x:.1}\" y2=\"{height:.0}\"/>");
        if x < WIDTH - 24.0 {
            let digits = usize::from(step < 1.0) + usize::from(step < 0.1) + usize::from(step < 0.01);
            let text = format!("{:.digits$} s", time.as_secs_f64());
            let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{:.0}\">{text}</text>", x + 2.0, height + 10.0);
        }
    }
    svg
}

fn slowest(ran: &[Ran], total: Duration) -> String {
    let mut jobs: Vec<_> = ran.iter().map(|job| (job.end.unwrap_or(total) - job.begin, job)).collect();
    jobs.sort_by_key(|(took, job)| (Reverse(*took), &job.name));
    let row = |(took, job): &(Duration, &Ran)| {
        let outcome = match job {
            Ran { end: None, .. } => "not finished",
            Ran { failed: true, .. } => "failed",
            _ => "",
        };
        let (took, begin) = (seconds(*took), seconds(job.begin));
        let name = escape(&job.name);
        format!("<tr><td>{name}</td><td class=\"n\">{took}</td><td class=\"n\">{begin}</td><td>{outcome}</td></tr>\n")
    };
    let rows: String = jobs.iter().take(SLOWEST).map(row).collect();
    format!("<table>\n<tr><th>job</th><th>took</th><th>began at</th><th></th></tr>\n{rows}</table>\n")
}

fn position(time: Duration, total: Duration) -> f64 {
    WIDTH * time.as_secs_f64() / total.as_secs_f64().max(1e-6)
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// Text that means itself in HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(name: &str, begin: u64, end: Option<u64>, failed: bool) -> Ran {
        let at = Duration::from_millis;
        Ran { name: name.to_owned(), begin: at(begin), end: end.map(at), failed }
    }

    #[test]
    fn jobs_at_once_have_lanes_of_their_own() {
        let jobs = [ran("a", 0, Some(10), false), ran("b", 1, Some(4), false), ran("c", 4, None, false)];
        assert_eq!(lanes(&jobs, Duration::from_millis(20)), [0, 1, 1]);
    }

    #[test]
    fn a_page_holds_every_job_and_no_markup_of_theirs() {
        let jobs = [ran("<b> & \"c\" x86-64-v3", 0, Some(1500), false), ran("late z15", 100, None, true)];
        let sample = Sample { at: Duration::from_secs(1), busy: 0.5, memory_bytes: 1 << 20 };
        let totals = Totals { compiled: 1, failed: 1, ..Totals::default() };
        let page = page("acme", 2, Duration::from_secs(2), &jobs, &[sample], totals);
        assert!(page.contains("&lt;b&gt; &amp; &quot;c&quot; x86-64-v3, 1.50 s"), "{page}");
        assert!(!page.contains("<b>") && page.contains("not finished") && page.contains("1.00 MiB"), "{page}");
        // Nothing happened at all.
        let empty = super::page("acme", 2, Duration::ZERO, &[], &[], Totals::default());
        assert!(!empty.contains("NaN") && !empty.contains("inf"), "{empty}");
    }
}
