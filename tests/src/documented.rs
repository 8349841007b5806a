//! The commands that the documents show, for tests that run them or check their order. Test
//! programs of the tools include this file by its path.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A command of a document that runs one of the project's programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Documented {
    /// File and line.
    pub place: String,
    /// The package of the program; `drivewam-tools` where the command names none.
    pub package: String,
    /// The arguments after `--`.
    pub words: Vec<String>,
    /// The whole command line.
    pub line: String,
    /// The lines of its block up to this one, with comments; empty within prose and tables.
    pub before: String,
}

impl Documented {
    /// The arguments as one text.
    pub fn text(&self) -> String {
        self.words.join(" ")
    }
}

/// The documents that tell a user what to type: the README, `docs/*.md` and the guide for
/// contributors.
fn documents(root: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(root.join("docs"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
        .collect();
    all.sort();
    [vec![root.join("README.md"), root.join("CONTRIBUTING.md")], all].concat()
}

/// All commands, in the order of the documents.
pub fn commands(root: &Path) -> Vec<Documented> {
    commands_of(lines(root))
}

/// Those command lines that run one of the project's programs.
pub fn commands_of(lines: Vec<Line>) -> Vec<Documented> {
    lines.into_iter().filter_map(|line| parse(&line.place, &line.text, line.before)).collect()
}

/// A command line of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// File and line.
    pub place: String,
    /// The whole line.
    pub text: String,
    /// The lines of its block up to this one, with comments; empty within prose and tables.
    before: String,
}

/// The command lines of all documents.
pub fn lines(root: &Path) -> Vec<Line> {
    let of = |document: PathBuf| {
        let name = document.file_name().unwrap_or_default().to_string_lossy().into_owned();
        lines_of(&name, &std::fs::read_to_string(&document).unwrap_or_default())
    };
    documents(root).into_iter().flat_map(of).collect()
}

/// The lines of a document's blocks, and the code within its prose and tables.
pub fn lines_of(name: &str, text: &str) -> Vec<Line> {
    let (mut found, mut block, mut command) = (Vec::new(), None::<String>, String::new());
    for (i, line) in text.lines().enumerate() {
        let place = format!("{name}:{}", i + 1);
        if line.starts_with("```") {
            block = if block.is_none() { Some(String::new()) } else { None };
            continue;
        }
        let Some(before) = &mut block else {
            let spans = line.split('`').skip(1).step_by(2).filter(|span| !span.contains("...") && !span.contains('>'));
            found.extend(spans.map(|span| Line { place: place.clone(), text: span.to_owned(), before: String::new() }));
            continue;
        };
        *before += line;
        before.push('\n');
        command += line.split(" #").next().unwrap_or_default().trim();
        if let Some(unfinished) = command.strip_suffix('\\') {
            command = unfinished.to_owned();
            continue;
        }
        found.push(Line { place, text: std::mem::take(&mut command), before: before.clone() });
    }
    found
}

/// A command line; `None` if it runs no program of the project.
fn parse(place: &str, line: &str, before: String) -> Option<Documented> {
    // `echo 20 | cargo run ...`
    let mut words = split(line.rsplit('|').next().unwrap_or_default()).into_iter();
    let mut package = "drivewam-tools".to_owned();
    if words.next()? != "cargo" || words.next()? != "run" {
        return None;
    }
    while let Some(word) = words.next() {
        match word.as_str() {
            "-p" | "--package" => package = words.next()?,
            "--" => break,
            _ => {}
        }
    }
    let words: Vec<String> = words.collect();
    // "`cargo run --release --` runs it"
    if words.is_empty() && package == "drivewam-tools" {
        return None;
    }
    Some(Documented { place: place.to_owned(), package, words, line: line.to_owned(), before })
}

/// The words of a command line; single quotes hold a word together.
fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (i, part) in line.split('\'').enumerate() {
        if i % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

/// Asks `program` to parse each documented command of `package` (`--help` behind it ends the
/// program before it works), and returns those commands. Its `--version` says the product's name,
/// and fails where it cannot be printed.
///
/// # Panics
/// There is none, the program refuses one, or a version that was not printed passes as success.
pub fn assert_parsed(root: &Path, package: &str, program: &str) -> Vec<Documented> {
    let all: Vec<Documented> = commands(root).into_iter().filter(|command| command.package == package).collect();
    assert!(!all.is_empty(), "no document shows a command of {package}");
    let version = |to: Stdio| Command::new(program).arg("--version").stdin(Stdio::null()).stdout(to).output();
    let done = version(Stdio::piped()).unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(done.status.success() && String::from_utf8_lossy(&done.stdout).contains("DriveWAM Edge"), "{program}: {done:?}");
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap_or_else(|e| panic!("/dev/full: {e}"));
    let done = version(full.into()).unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(done.status.code() == Some(1) && String::from_utf8_lossy(&done.stderr).contains("standard output"), "{program}: {done:?}");
    for command in &all {
        let done = Command::new(program).args(&command.words).arg("--help").stdin(Stdio::null()).output();
        let done = done.unwrap_or_else(|e| panic!("{program}: {e}"));
        let stderr = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{}: {:?}: {stderr}", command.place, command.text());
    }
    all
}
