//! The files of the repository that the rules read.

use std::path::Path;

/// One text file of the repository.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// Relative to the repository, with `/`.
    pub(crate) path: String,
    /// All of it.
    pub(crate) text: String,
}

impl Source {
    /// A file that a test makes up.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// What follows the last dot of the name, or the whole name.
    pub(crate) fn kind(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        name.rsplit('.').next().unwrap_or(name)
    }
}

/// Every file below `root` of one of `kinds`, in order of paths. Build outputs, environments and
/// folders whose name begins with a dot are left out.
pub(crate) fn sources(root: &Path, kinds: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    collect(root, "", kinds, &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn collect(folder: &Path, prefix: &str, kinds: &[&str], found: &mut Vec<Source>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        if entry.file_type().unwrap().is_dir() {
            let output = ["target", "out", "__pycache__"].contains(&name.as_str());
            if !(output || name.starts_with('.') || name.ends_with(".egg-info")) {
                collect(&entry.path(), &format!("{path}/"), kinds, found);
            }
        } else {
            let file = Source { path, text: String::new() };
            if kinds.contains(&file.kind()) {
                let text = std::fs::read_to_string(entry.path()).unwrap();
                found.push(Source { text, ..file });
            }
        }
    }
}
