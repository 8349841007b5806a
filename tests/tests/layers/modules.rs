//! The modules of a crate and who uses whom; circles among them.
//!
//! A node is a file. An edge runs from a file to the file that defines what it names: by `use`, or
//! by a path that begins with `crate`, `self`, `super` or a child module. Re-exports are followed
//! to where the name is defined, and are no edge by themselves. What is compiled for tests alone
//! does not count.

use crate::files::Source;
use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use std::collections::{BTreeMap, BTreeSet};
use syn::{Item, ItemUse, UseTree, Visibility};

/// Who uses whom, by name.
pub(crate) type Edges = BTreeMap<String, BTreeSet<String>>;

type ModulePath = Vec<String>;

/// One crate while it is read.
#[derive(Default)]
struct Modules {
    /// The file of every module.
    files: BTreeMap<ModulePath, String>,
    /// Where a module's re-exported names come from.
    exports: BTreeMap<(ModulePath, String), ModulePath>,
}

/// The edges of the crate whose files below `src/` are `files`.
pub(crate) fn edges(src: &str, files: &[Source]) -> Edges {
    let mut modules = Modules::default();
    let mut parsed = Vec::new();
    for file in files.iter().filter(|file| file.path.starts_with(src)) {
        let inner = &file.path[src.len()..];
        let mut path: ModulePath = inner.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        let last = path.last().cloned().unwrap_or_default();
        if ["lib", "main", "mod"].contains(&last.as_str()) {
            path.pop();
        }
        if last == "tests" || path.iter().any(|part| part == "tests") {
            continue;
        }
        let tree = syn::parse_file(&file.text).unwrap_or_else(|e| panic!("{}: {e}", file.path));
        modules.files.insert(path.clone(), file.path.clone());
        parsed.push((path, tree.items));
    }
    for (path, items) in &parsed {
        modules.collect(path, items);
    }
    let mut edges = Edges::new();
    for (path, items) in &parsed {
        let from = modules.files[path].clone();
        let to = edges.entry(from.clone()).or_default();
        modules.uses(path, items, to);
        to.remove(&from);
    }
    edges
}

impl Modules {
    /// Notes inline modules, and re-exports.
    fn collect(&mut self, path: &ModulePath, items: &[Item]) {
        for item in items.iter().filter(|item| !for_tests(item)) {
            match item {
                Item::Mod(inner) => {
                    if let Some((_, items)) = &inner.content {
                        let child = child(path, &inner.ident.to_string());
                        self.files.insert(child.clone(), self.files[path].clone());
                        self.collect(&child, items);
                    }
                }
                Item::Use(re) if !matches!(re.vis, Visibility::Inherited) => {
                    for (target, name) in leaves(&re.tree) {
                        if let Some(absolute) = self.absolute(path, &target) {
                            self.exports.insert((path.clone(), name), absolute);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// Adds the files that `items` of the module `path` use.
    fn uses(&self, path: &ModulePath, items: &[Item], to: &mut BTreeSet<String>) {
        let live: Vec<&Item> = items.iter().filter(|item| !for_tests(item)).collect();
        let mut words = Vec::new();
        for item in &live {
            if !matches!(item, Item::Use(_) | Item::Mod(_)) {
                flatten(item.to_token_stream(), &mut words);
            }
        }
        for item in live {
            match item {
                Item::Use(ItemUse { vis, tree, .. }) => {
                    for (target, name) in leaves(tree) {
                        let used = matches!(vis, Visibility::Inherited) || words.contains(&name);
                        self.add(path, &target, to, used);
                    }
                }
                Item::Mod(inner) => {
                    if let Some((_, items)) = &inner.content {
                        self.uses(&child(path, &inner.ident.to_string()), items, to);
                    }
                }
                _ => {}
            }
        }
        for at in 0..words.len() {
            let begins = at == 0 || words[at - 1] != "::";
            if begins && words.get(at + 1).is_some_and(|w| w == "::") {
                let mut target = vec![words[at].clone()];
                let mut next = at + 1;
                while words.get(next).is_some_and(|w| w == "::") {
                    target.extend(words.get(next + 1).cloned());
                    next += 2;
                }
                self.add(path, &target, to, true);
            }
        }
    }

    fn add(&self, path: &ModulePath, target: &[String], to: &mut BTreeSet<String>, used: bool) {
        if let Some(module) = self.absolute(path, target).filter(|_| used) {
            to.insert(self.definer(&module));
        }
    }

    /// `target`, as written in the module `path`, from the root of the crate; none outside of it.
    fn absolute(&self, path: &ModulePath, target: &[String]) -> Option<ModulePath> {
        let (first, rest) = target.split_first()?;
        let mut base = match first.as_str() {
            "crate" => Vec::new(),
            "self" => path.clone(),
            "super" => path[..path.len().checked_sub(1)?].to_vec(),
            name if self.files.contains_key(&child(path, name)) => child(path, name),
            _ => return None,
        };
        for part in rest {
            if part == "super" {
                base.pop()?;
            } else {
                base.push(part.clone());
            }
        }
        Some(base)
    }

    /// The file that defines what lies at `absolute`. A module goes before a re-export of its name.
    fn definer(&self, absolute: &[String]) -> String {
        let mut module = Vec::new();
        for (i, part) in absolute.iter().enumerate() {
            let deeper = child(&module, part);
            if self.files.contains_key(&deeper) {
                module = deeper;
                continue;
            }
            if let Some(target) = self.exports.get(&(module.clone(), part.clone())) {
                let mut whole = target.clone();
                whole.extend_from_slice(&absolute[i + 1..]);
                return self.definer(&whole);
            }
            break;
        }
        self.files.get(&module).cloned().unwrap_or_default()
    }
}

fn child(path: &[String], name: &str) -> ModulePath {
    path.iter().cloned().chain([name.to_owned()]).collect()
}

/// Whether an item is compiled for tests alone.
fn for_tests(item: &Item) -> bool {
    let attributes = match item {
        Item::Mod(i) => &i.attrs,
        Item::Use(i) => &i.attrs,
        Item::Fn(i) => &i.attrs,
        Item::Impl(i) => &i.attrs,
        Item::Struct(i) => &i.attrs,
        Item::Const(i) => &i.attrs,
        _ => return false,
    };
    attributes.iter().any(|a| a.path().is_ident("cfg") && a.to_token_stream().to_string().contains("(test)"))
}

/// The paths that a `use` names, each with the name that it gives.
fn leaves(tree: &UseTree) -> Vec<(Vec<String>, String)> {
    match tree {
        UseTree::Path(path) => {
            let deeper = leaves(&path.tree).into_iter();
            let with = |(mut rest, name): (Vec<String>, String)| {
                rest.insert(0, path.ident.to_string());
                (rest, name)
            };
            deeper.map(with).collect()
        }
        UseTree::Name(name) if name.ident == "self" => vec![(Vec::new(), String::new())],
        UseTree::Name(name) => vec![(vec![name.ident.to_string()], name.ident.to_string())],
        UseTree::Rename(name) => vec![(vec![name.ident.to_string()], name.rename.to_string())],
        UseTree::Glob(_) => vec![(Vec::new(), "*".to_owned())],
        UseTree::Group(group) => group.items.iter().flat_map(leaves).collect(),
    }
}

/// Identifiers and `::`, in order; everything else becomes an empty word.
pub(crate) fn flatten(tokens: TokenStream, words: &mut Vec<String>) {
    let mut colons = 0;
    for token in tokens {
        let colon = matches!(&token, TokenTree::Punct(p) if p.as_char() == ':');
        colons = if colon { colons + 1 } else { 0 };
        match token {
            TokenTree::Ident(ident) => words.push(ident.to_string()),
            TokenTree::Group(group) => {
                words.push(String::new());
                flatten(group.stream(), words);
                words.push(String::new());
            }
            _ if colons == 2 => {
                words.pop();
                words.push("::".to_owned());
            }
            _ => words.push(String::new()),
        }
    }
}

/// Descriptions of the sets of nodes that reach one another.
pub(crate) fn circles(edges: &Edges) -> Vec<String> {
    let reach = |from: &String| {
        let mut seen: BTreeSet<String> = BTreeSet::new();
        let mut next: Vec<String> = edges.get(from).into_iter().flatten().cloned().collect();
        while let Some(node) = next.pop() {
            if seen.insert(node.clone()) {
                next.extend(edges.get(&node).into_iter().flatten().cloned());
            }
        }
        seen
    };
    let reached: BTreeMap<&String, BTreeSet<String>> = edges.keys().map(|node| (node, reach(node))).collect();
    let mut found = BTreeSet::new();
    for (node, to) in &reached {
        if to.contains(*node) {
            let mutual = to.iter().filter(|other| reached.get(other).is_some_and(|back| back.contains(*node)));
            let members: BTreeSet<&str> = mutual.map(String::as_str).collect();
            let ties = members.iter().flat_map(|from| {
                let targets = edges.get(*from).into_iter().flatten();
                let inside: Vec<&String> = targets.filter(|to| members.contains(to.as_str())).collect();
                inside.into_iter().map(move |to| format!("{from} -> {to}"))
            });
            found.insert(ties.collect::<Vec<_>>().join("; "));
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[(&str, &str)]) -> Edges {
        let files: Vec<Source> = files.iter().map(|(path, text)| Source::new(&format!("x/src/{path}"), text)).collect();
        edges("x/src/", &files)
    }

    /// Breaks when one way of naming a module goes unseen: `use`, a path in code, a path inside of
    /// a macro, a re-export, a parent by `super`, a child by its name.
    #[test]
    fn a_circle_is_found_however_its_modules_are_named() {
        let lib = ("lib.rs", "mod a; mod b; pub use a::Alpha;");
        let plain = ("a.rs", "pub struct Alpha;");
        let ways = [
            "use crate::a::Alpha;",
            "use super::a;",
            "use crate::Alpha;",
            "fn f() -> crate::a::Alpha { todo() }",
            "fn f() { println!(\"{}\", crate::a::f()); }",
        ];
        for way in ways {
            assert_eq!(circles(&of(&[lib, plain, ("b.rs", way)])), [""; 0], "{way}");
            let seeded = ("a.rs", "use crate::b; pub struct Alpha;");
            let found = circles(&of(&[lib, seeded, ("b.rs", way)]));
            assert_eq!(found, ["x/src/a.rs -> x/src/b.rs; x/src/b.rs -> x/src/a.rs"], "{way}");
        }
        let parent = ("p/mod.rs", "mod c; pub struct P; fn f() { c::g() }");
        let found = circles(&of(&[("lib.rs", "mod p;"), parent, ("p/c.rs", "use super::P;")]));
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn a_face_that_only_re_exports_and_what_tests_use_are_no_circle() {
        let face = ("p/mod.rs", "mod c; pub use c::C; pub struct P;");
        assert_eq!(circles(&of(&[("lib.rs", "mod p;"), face, ("p/c.rs", "use super::P; pub struct C;")])), [""; 0]);
        let tested = ("a.rs", "#[cfg(test)] mod tests { use crate::b::B; }");
        assert_eq!(circles(&of(&[("lib.rs", ""), tested, ("b.rs", "use crate::a; pub struct B;")])), [""; 0]);
    }
}
