//! The documents' commands work in their order on a fresh clone: what a command needs is made by an
//! earlier line of its block, and every file that it names is part of the repository.

use drivewam_tests::documented::{Documented, commands_of};
use std::path::Path;

/// What a fresh clone lacks for a command: words of the command, and the line that makes it.
const NEEDS: [(&str, &str); 3] =
    [("drivewam-build-kernels", "make setup"), ("--features tensorrt", "make setup"), ("configs/tiny-vlm.yaml", "make fixtures")];

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

/// Breaks when a command that needs the Python environment or the fixtures goes unseen, or a name
/// of a file is not looked at.
#[test]
fn a_command_before_what_it_needs_is_found() {
    let text = "```sh\nmake setup\ncargo run -r -p drivewam-build-kernels\n```\n\
        ```sh\ncargo run --release -p drivewam-build-kernels -- --out o\necho 5 | cargo run -r -- bench 'a b' # `make fixtures` first\n\
        cargo run -r -- drive configs/none.yaml\n```\nA `cargo run -r -- plan` in prose.\n";
    let commands = commands_of("a.md", text);
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
