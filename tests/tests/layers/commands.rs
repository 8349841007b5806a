//! The documents' commands work in their order on a fresh clone: what a command needs is made by an
//! earlier line of its block, and every file that it names is part of the repository.

use drivewam_tests::documented::{self, Documented, Line, commands_of, lines_of};
use std::path::Path;

/// What a fresh clone lacks for a command: words of the command, and the line that makes it.
const NEEDS: [(&str, &str); 2] = [("drivewam-build-kernels", "make setup"), ("--features tensorrt", "make setup")];

/// Commands whose needs no earlier line of their block meets, and names of files that do not exist.
pub(crate) fn unprepared(commands: &[Documented], root: &Path) -> Vec<String> {
    let mut failures = Vec::new();
    for command in commands.iter().filter(|command| !command.before.is_empty()) {
        for (words, first) in NEEDS {
            if command.line.contains(words) && !command.before.contains(first) {
                failures.push(format!("{}: {words:?} needs `{first}` before it in its block", command.place));
            }
        }
        let missing = command.words.iter().filter(|word| word.starts_with("configs/") && !root.join(word).exists());
        failures.extend(missing.map(|word| format!("{}: {word:?} is not in a fresh clone", command.place)));
    }
    failures
}

/// Names in command lines that nothing has: targets of make, test programs, Python modules.
fn nameless(lines: &[Line], root: &Path) -> Vec<String> {
    let makefile = std::fs::read_to_string(root.join("Makefile")).unwrap();
    let is_target = |name: &str| {
        makefile
            .lines()
            .any(|line| line.split_once(':').is_some_and(|(targets, _)| targets.split_whitespace().any(|target| target == name)))
    };
    let crates: Vec<_> = ["runtime", "tools"].iter().flat_map(|folder| std::fs::read_dir(root.join(folder)).unwrap()).collect();
    let folders: Vec<_> = crates.into_iter().map(|entry| entry.unwrap().path()).chain([root.join("tests")]).collect();
    let is_test = |name: &str| {
        let places = [format!("tests/{name}.rs"), format!("tests/{name}/main.rs")];
        folders.iter().any(|folder| places.iter().any(|place| folder.join(place).exists()))
    };
    let is_module = |name: &str| {
        let path = root.join("export").join(name.replace('.', "/"));
        !name.starts_with("drivewam_export") || path.with_extension("py").exists() || path.join("__main__.py").exists()
    };
    let mut failures = Vec::new();
    // `X` stands for a name.
    for line in lines.iter().filter(|line| !line.text.split_whitespace().any(|word| word == "X")) {
        let words: Vec<&str> = line.text.split_whitespace().collect();
        let after = |flag: &str| words.iter().position(|word| *word == flag).and_then(|at| words.get(at + 1));
        let is_cargo_test = words.starts_with(&["cargo", "test"]);
        let target = (words.first() == Some(&"make"))
            .then(|| words[1..].iter().find(|word| !word.starts_with('-') && !word.contains('=')))
            .flatten();
        let found = [
            (target, is_target(target.unwrap_or(&""))),
            (after("--test").filter(|_| is_cargo_test), is_test(after("--test").unwrap_or(&""))),
            (after("-m").filter(|_| line.text.contains("python -m")), is_module(after("-m").unwrap_or(&""))),
        ];
        failures.extend(
            found.iter().filter_map(|(name, is_there)| name.filter(|_| !is_there).map(|name| format!("{}: no {name:?}", line.place))),
        );
    }
    failures
}

/// Breaks when a document tells a user to type what does not exist.
#[test]
fn documented_targets_tests_and_modules_exist() {
    let root = super::root();
    let lines = documented::lines(&root);
    let failures = nameless(&lines, &root);
    assert!(failures.is_empty(), "{failures:#?}");
    let text = "```sh\nmake tset\ncargo test -r --test goldn\npython -m drivewam_export.train.dager --out a\nmake test\n```\nAnd `make -j2 logn`.\n";
    let seeded = nameless(&lines_of("a.md", text), &root);
    assert_eq!(seeded.len(), 4, "{seeded:?}");
}

/// Breaks when a command that needs the Python environment or the fixtures goes unseen, or a name
/// of a file is not looked at.
#[test]
fn a_command_before_what_it_needs_is_found() {
    let text = "```sh\nmake setup\ncargo run -r -p drivewam-build-kernels\n```\n\
        ```sh\ncargo run --release -p drivewam-build-kernels -- --out o\necho 5 | cargo run -r -- bench 'a b' # `make fixtures` first\n\
        cargo run -r -- drive configs/none.yaml\n```\nA `cargo run -r -- plan` in prose.\n";
    let commands = commands_of(lines_of("a.md", text));
    let words: Vec<(&str, String)> = commands.iter().map(|c| (c.package.as_str(), c.text())).collect();
    let wanted = [
        ("drivewam-build-kernels", ""),
        ("drivewam-build-kernels", "--out o"),
        ("drivewam-tools", "bench a b"),
        ("drivewam-tools", "drive configs/none.yaml"),
        ("drivewam-tools", "plan"),
    ];
    assert_eq!(words, wanted.map(|(package, text)| (package, text.to_owned())));
    let failures = unprepared(&commands, Path::new("/nowhere"));
    assert_eq!(failures.len(), 2, "{failures:?}");
    assert!(failures[0].contains("a.md:6") && failures[1].contains("configs/none.yaml"), "{failures:?}");
}
