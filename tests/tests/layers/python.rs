//! The modules of the Python package and who imports whom.

use crate::files::Source;
use crate::modules::Edges;
use std::collections::BTreeSet;

/// The edges of the package in `folder` (`export/drivewam_export/`), whose name is the folder's.
/// Every import counts, also one inside of a function.
pub(crate) fn edges(folder: &str, files: &[Source]) -> Edges {
    let package = folder.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let inside: Vec<&Source> = files.iter().filter(|file| file.path.starts_with(folder)).collect();
    let known: BTreeSet<&str> = inside.iter().map(|file| file.path.as_str()).collect();
    let file_of = |parts: &[String]| {
        let path = format!("{folder}{}", parts.join("/"));
        let init = format!("{}/__init__.py", path.trim_end_matches('/'));
        [format!("{path}.py"), init].into_iter().find(|path| known.contains(path.as_str()))
    };
    let mut edges = Edges::new();
    for file in &inside {
        let inner = file.path[folder.len()..].trim_end_matches(".py");
        let parts: Vec<String> = inner.split('/').map(str::to_owned).collect();
        let here = &parts[..parts.len() - 1];
        let to = edges.entry(file.path.clone()).or_default();
        for (module, names) in imports(&file.text) {
            let dots = module.chars().take_while(|c| *c == '.').count();
            let rest = module[dots..].split('.').filter(|part| !part.is_empty()).map(str::to_owned);
            let mut base: Vec<String> = match dots {
                0 => Vec::new(),
                dots => here[..here.len().saturating_sub(dots - 1)].to_vec(),
            };
            base.extend(rest);
            if dots == 0 {
                if base.first().is_none_or(|first| first != package) {
                    continue;
                }
                base.remove(0);
            }
            let mut found = false;
            for name in &names {
                let deeper: Vec<String> = base.iter().cloned().chain([name.clone()]).collect();
                if let Some(file) = file_of(&deeper) {
                    found |= to.insert(file);
                }
            }
            if !found {
                to.extend(file_of(&base));
            }
        }
        to.remove(&file.path);
    }
    edges
}

/// The modules that a text imports from, each with the names that it takes.
fn imports(text: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let line = line.trim_start();
        if let Some((module, names)) = line.strip_prefix("from ").and_then(|rest| rest.split_once(" import ")) {
            let mut names = names.to_owned();
            while names.contains('(') && !names.contains(')') {
                names.push_str(lines.next().unwrap_or(")"));
            }
            let words = names.split(['(', ')', ',']).map(|word| word.split_whitespace().next().unwrap_or_default());
            let names = words.filter(|word| !word.is_empty()).map(str::to_owned).collect();
            found.push((module.to_owned(), names));
        } else if let Some(modules) = line.strip_prefix("import ") {
            let words = modules.split(',').filter_map(|word| word.split_whitespace().next());
            found.extend(words.map(|module| (module.to_owned(), Vec::new())));
        }
    }
    found
}

/// Breaks when a form of import goes unseen.
#[test]
fn a_circle_of_python_modules_is_found_by_every_form_of_import() {
    let a = Source::new("export/pack/sub/a.py", "def f():\n    from ..b import (\n        g,\n    )\n");
    for form in ["from .sub import a", "from .sub.a import f", "import pack.sub.a", "from pack.sub import a as x"] {
        let b = Source::new("export/pack/b.py", &format!("{form}\n"));
        let found = crate::modules::circles(&edges("export/pack/", &[a.clone(), b]));
        assert_eq!(found.len(), 1, "{form}: {found:?}");
    }
    let apart = Source::new("export/pack/b.py", "import json\nfrom os import path\n");
    assert!(crate::modules::circles(&edges("export/pack/", &[a, apart])).is_empty());
}
