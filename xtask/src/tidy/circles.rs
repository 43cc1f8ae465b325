//! Circles of imports between the files of a crate. In: its modules. Out: each circle, with a name that every file of it
//! takes from the next.
//!
//! An edge leads from the file that names something to the file that defines it; `use` in between is followed, so that a
//! crate's root may hand out what its modules hold. A file may name what its own submodules define, and they may name it:
//! these edges downwards do not count. Any other circle does, also one that runs by way of a common parent.

use super::sources::{Crate, Module, Name};
use std::collections::{BTreeMap, BTreeSet};

/// Files, each with what it takes from the next; the last takes from the first.
pub(super) type Circle = Vec<(String, String)>;

pub(super) fn find(found: &Crate) -> Vec<Circle> {
    let edges: BTreeMap<&Name, BTreeMap<&Name, String>> =
        found.modules.iter().map(|(name, module)| (name, edges_of(found, name, module))).collect();
    let mut circles = Vec::new();
    let mut seen = BTreeSet::new();
    for start in found.modules.keys() {
        if seen.contains(start) {
            continue;
        }
        if let Some(circle) = shortest_circle(&edges, start) {
            // Other files of the same knot would be told again as circles of their own.
            seen.extend(knot(&edges, start));
            circles.push(
                circle
                    .iter()
                    .enumerate()
                    .map(|(index, name)| {
                        let next = circle[(index + 1) % circle.len()];
                        (found.modules[*name].file.display().to_string(), edges[*name][next].clone())
                    })
                    .collect(),
            );
        }
    }
    circles
}

/// The files that `name`'s names come from, with one of the names.
fn edges_of<'a>(found: &'a Crate, name: &'a Name, module: &'a Module) -> BTreeMap<&'a Name, String> {
    let mut edges = BTreeMap::new();
    let imported = module.imports.iter().filter(|import| !import.is_export).map(|import| &import.path);
    for path in imported.chain(&module.paths) {
        let Some(target) = resolve(found, name, path, 0) else { continue };
        let is_downwards = target.starts_with(name);
        if !is_downwards {
            edges.entry(target).or_insert_with(|| path.join("::"));
        }
    }
    edges
}

/// The module that defines what `path` means in `from`; none for other crates.
fn resolve<'a>(found: &'a Crate, from: &Name, path: &[String], depth: usize) -> Option<&'a Name> {
    let (mut here, _) = found.modules.get_key_value(from)?;
    // Names that lead in a circle among `use`s end here.
    if depth > 20 {
        return Some(here);
    }
    let mut segments = path.iter().peekable();
    let mut is_first = true;
    while let Some(segment) = segments.next() {
        let module = &found.modules[here];
        let child = [&here[..], std::slice::from_ref(segment)].concat();
        let next = match segment.as_str() {
            "crate" if is_first => Some(Vec::new()),
            "self" => Some(here.clone()),
            "super" => Some(here[..here.len().saturating_sub(1)].to_vec()),
            _ => Some(child),
        };
        let known = next.and_then(|next| found.modules.get_key_value(&next));
        if let Some((next, _)) = known {
            (here, is_first) = (next, false);
            continue;
        }
        if module.defined.contains(segment) {
            return Some(here);
        }
        let rest: Vec<_> = segments.cloned().collect();
        let follow = |path: &Name| resolve(found, here, &[&path[..], &rest[..]].concat(), depth + 1);
        if let Some(import) = module.imports.iter().find(|import| import.alias.as_ref() == Some(segment)) {
            return if import.path.first() == Some(segment) && import.path.len() == 1 {
                None
            } else {
                follow(&import.path)
            };
        }
        let globs = module.imports.iter().filter(|import| import.alias.is_none());
        for glob in globs {
            let with = [&glob.path[..], std::slice::from_ref(segment)].concat();
            if let Some(target) = resolve(found, here, &with, depth + 1)
                && found.modules[target].defined.contains(segment)
            {
                return Some(target);
            }
        }
        return if is_first { None } else { Some(here) };
    }
    Some(here)
}

type Edges<'a> = BTreeMap<&'a Name, BTreeMap<&'a Name, String>>;

/// The shortest way from `start` back to it.
fn shortest_circle<'a>(edges: &Edges<'a>, start: &'a Name) -> Option<Vec<&'a Name>> {
    let mut came_from: BTreeMap<&Name, &Name> = BTreeMap::new();
    let mut layer = vec![start];
    while !layer.is_empty() {
        let mut next = Vec::new();
        for from in layer {
            for &to in edges[from].keys() {
                if to == start {
                    let mut circle = vec![from];
                    while circle.last() != Some(&start) {
                        circle.push(came_from[circle[circle.len() - 1]]);
                    }
                    circle.reverse();
                    return Some(circle);
                }
                if !came_from.contains_key(to) {
                    came_from.insert(to, from);
                    next.push(to);
                }
            }
        }
        layer = next;
    }
    None
}

/// The strongly connected component of `start`: what it reaches and is reached from.
fn knot<'a>(edges: &Edges<'a>, start: &'a Name) -> BTreeSet<&'a Name> {
    let backwards: Edges<'a> = edges
        .keys()
        .map(|&to| {
            let from = edges.iter().filter(|(_, targets)| targets.contains_key(to));
            (to, from.map(|(&from, _)| (from, String::new())).collect())
        })
        .collect();
    let reach = |edges: &Edges<'a>| {
        let mut seen = BTreeSet::from([start]);
        let mut left = vec![start];
        while let Some(next) = left.pop() {
            left.extend(edges[next].keys().copied().filter(|&to| seen.insert(to)));
        }
        seen
    };
    reach(edges).intersection(&reach(&backwards)).copied().collect()
}
