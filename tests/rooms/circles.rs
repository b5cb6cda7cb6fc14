//! Which files of a crate use which others, and whether any of them use each other in a circle.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Path, Source};

/// The files of one crate by their modules: `http/wire/codes.rs` is `["http", "wire", "codes"]`.
pub struct Crate<'a> {
    modules: BTreeMap<Vec<String>, &'a str>,
    /// What a module re-exports.
    exports: BTreeMap<Vec<String>, Vec<Export>>,
    paths: BTreeMap<&'a str, Vec<Path>>,
}

/// A name that a module re-exports, and where it comes from. A glob has no name.
type Export = (Option<String>, Vec<String>);

/// A file uses another one, in this line.
pub type Edges<'a> = BTreeMap<&'a str, BTreeMap<&'a str, usize>>;

/// The module of a file of the crate whose sources are below `root`; none for what only tests use.
fn module(root: &str, file: &str) -> Option<Vec<String>> {
    let path = file.strip_prefix(root)?.strip_suffix(".rs")?;
    let mut parts: Vec<String> = path.split('/').map(str::to_owned).collect();
    if parts.iter().any(|part| ["tests", "testing", "fixtures"].contains(&part.as_str())) {
        return None;
    }
    if parts.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        parts.pop();
    }
    Some(parts)
}

impl<'a> Crate<'a> {
    /// The crate whose sources are below `root`, of all these files with their texts.
    pub fn new(root: &str, files: &'a [(String, String)]) -> Self {
        let mut this = Self { modules: BTreeMap::new(), exports: BTreeMap::new(), paths: BTreeMap::new() };
        for (file, text) in files {
            let Some(module) = module(root, file).filter(|_| !file.ends_with("main.rs")) else { continue };
            let (exported, used): (Vec<Path>, Vec<Path>) =
                Source::new(text).paths_of_the_program().into_iter().partition(|path| path.exported);
            this.modules.insert(module.clone(), file);
            let exports = exported.into_iter().map(|path| {
                let name = path.alias.clone().or_else(|| path.parts.last().cloned());
                (name.filter(|name| name != "*"), path.parts)
            });
            this.exports.insert(module, exports.collect());
            this.paths.insert(file, used);
        }
        this
    }

    /// Which file uses which others.
    pub fn edges(&self) -> Edges<'a> {
        let mut edges = Edges::new();
        for (module, file) in &self.modules {
            let to = edges.entry(*file).or_default();
            for path in &self.paths[file] {
                for used in self.files(module, &path.parts, 0) {
                    if used != *file && !self.is_folder_of(used, module) {
                        to.entry(used).or_insert(path.line);
                    }
                }
            }
        }
        edges
    }

    /// Whether a file is that of a module which this one lies in: what a folder's parts share stands in its `mod.rs`.
    fn is_folder_of(&self, file: &str, module: &[String]) -> bool {
        (0..module.len()).any(|depth| self.modules.get(&module[..depth]) == Some(&file))
    }

    /// The files that a path in a module leads to: that of the item, which may be re-exported from elsewhere. `depth` bounds
    /// re-exports of re-exports.
    fn files(&self, module: &[String], parts: &[String], depth: usize) -> Vec<&'a str> {
        let Some((first, rest)) = parts.split_first() else { return Vec::new() };
        let mut at = module.to_vec();
        match first.as_str() {
            "crate" => at.clear(),
            "self" => {}
            "super" => _ = at.pop(),
            child => {
                at.push(child.to_owned());
                if !self.modules.contains_key(&at) {
                    return Vec::new();
                }
            }
        }
        for (nth, part) in rest.iter().enumerate() {
            if part == "super" {
                at.pop();
                continue;
            }
            if part == "self" {
                continue;
            }
            at.push(part.clone());
            if self.modules.contains_key(&at) {
                continue;
            }
            at.pop();
            // Here the name is an item, not a module.
            let exports = self.exports.get(&at).into_iter().flatten();
            for (name, from) in exports.filter(|_| depth < 8) {
                if name.as_ref() == Some(part) {
                    let from: Vec<String> = from.iter().chain(&rest[nth + 1..]).cloned().collect();
                    return self.files(&at, &from, depth + 1);
                }
            }
            break;
        }
        self.modules.get(&at).copied().into_iter().collect()
    }
}

/// The files that use each other in circles, each circle with one way around.
pub fn circles(edges: &Edges<'_>) -> Vec<String> {
    let reached = |from: &str| {
        let mut seen = BTreeSet::new();
        let mut next: Vec<&str> = edges.get(from).into_iter().flatten().map(|(to, _)| *to).collect();
        while let Some(file) = next.pop() {
            if seen.insert(file) {
                next.extend(edges.get(file).into_iter().flatten().map(|(to, _)| *to));
            }
        }
        seen
    };
    let reach: BTreeMap<&str, BTreeSet<&str>> = edges.keys().map(|file| (*file, reached(file))).collect();
    let mut found = Vec::new();
    let mut done = BTreeSet::new();
    for file in edges.keys() {
        let together = |other: &&&str| reach[**other].contains(*file) && reach[*file].contains(**other);
        let circle: Vec<&str> = edges.keys().filter(together).copied().collect();
        if circle.is_empty() || !done.insert(circle.clone()) {
            continue;
        }
        let arrows = circle.iter().flat_map(|from| {
            let inside = edges[from].iter().filter(|(to, _)| circle.contains(to));
            inside.map(move |(to, line)| format!("  {from}:{line} uses {to}"))
        });
        found.push(arrows.collect::<Vec<_>>().join("\n"));
    }
    found
}
