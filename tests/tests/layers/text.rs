//! Rules for the text of a file: its length, its first line, the width of prose and comments.

use crate::files::Source;

/// Most lines of a source file.
const MOST_LINES: usize = 400;
/// Most columns of a line of prose or of a comment.
const MOST_COLUMNS: usize = 100;

/// Source files of more than 400 lines, and Rust files that do not begin with their subject.
pub(crate) fn shapes(files: &[Source]) -> Vec<String> {
    let mut failures = Vec::new();
    for file in files {
        let lines = file.text.lines().count();
        if lines > MOST_LINES {
            failures.push(format!("{}: {lines} lines, at most {MOST_LINES} wanted", file.path));
        }
        if file.kind() == "rs" && !file.text.starts_with("//!") {
            failures.push(format!("{}: does not begin with `//!` and its subject", file.path));
        }
    }
    failures
}

/// Lines of prose or comments of more than 100 columns.
pub(crate) fn wide(files: &[Source]) -> Vec<String> {
    let mut failures = Vec::new();
    for file in files {
        for (i, line) in prose(file) {
            let columns = line.chars().count();
            if columns > MOST_COLUMNS {
                failures.push(format!("{}:{}: {columns} columns", file.path, i + 1));
            }
        }
    }
    failures
}

/// The lines of a file that the rule of width holds, with their index.
fn prose(file: &Source) -> Vec<(usize, &str)> {
    let lines = file.text.lines().enumerate();
    match file.kind() {
        "rs" | "cu" | "cuh" | "cpp" | "h" | "c" | "js" => lines.filter(|(_, line)| has_comment(line, "//")).collect(),
        "md" => markdown(&file.text),
        "py" => python(&file.text),
        _ => lines.filter(|(_, line)| has_comment(line, "#")).collect(),
    }
}

/// Whether a comment begins on the line: at its start, or after code and a space.
fn has_comment(line: &str, mark: &str) -> bool {
    let line = line.trim_start();
    // A mark inside of a text has an odd number of quotes before it.
    let outside = |(at, _): (usize, &str)| line.get(..at).unwrap_or_default().matches('"').count() % 2 == 0;
    let begins = [mark, "/*"].iter().any(|mark| line.starts_with(mark));
    begins || line.match_indices(&format!(" {mark} ")).any(outside)
}

/// Paragraphs and lists: neither code, nor tables, nor a line that is one link or one picture.
fn markdown(text: &str) -> Vec<(usize, &str)> {
    let mut code = false;
    let mut found = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        if trimmed.starts_with("```") {
            code = !code;
            continue;
        }
        let link = (trimmed.starts_with('[') || trimmed.starts_with("![")) && !trimmed.contains("] ");
        if !(code || link || trimmed.starts_with('|') || trimmed.starts_with('<')) {
            found.push((i, line));
        }
    }
    found
}

/// Comments and docstrings.
fn python(text: &str) -> Vec<(usize, &str)> {
    let mut inside = false;
    let mut found = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let marks = line.matches("\"\"\"").count();
        let doc = inside || line.trim_start().trim_start_matches('r').starts_with("\"\"\"");
        inside ^= marks % 2 == 1;
        if doc || has_comment(line, "#") {
            found.push((i, line));
        }
    }
    found
}

#[test]
fn a_long_file_and_one_without_a_subject_are_found() {
    let long = Source::new("a.cu", &"x\n".repeat(401));
    let bare = Source::new("b.rs", "fn main() {}\n");
    let good = Source::new("c.rs", "//! A subject.\n");
    let failures = shapes(&[long, bare, good]);
    assert_eq!(failures.len(), 2, "{failures:?}");
    assert!(failures[0].contains("a.cu: 401 lines") && failures[1].contains("b.rs"), "{failures:?}");
}

/// Breaks when a kind of prose goes unseen, or code is taken for prose.
#[test]
fn wide_prose_is_found_in_every_kind_of_file_and_wide_code_is_not_prose() {
    let wide_text = "word ".repeat(21);
    let found = |path: &str, text: String| wide(&[Source::new(path, &text)]).len();
    assert_eq!(found("a.rs", format!("/// {wide_text}\nlet x = \"{wide_text}\";\n")), 1);
    assert_eq!(found("a.rs", format!("let x = 1; // {wide_text}\nlet y = \"http://{wide_text}\";\n")), 1);
    assert_eq!(found("a.rs", format!("let x = 1; // a \"quoted\" {wide_text}\n")), 1);
    assert_eq!(found("a.cuh", format!("// {wide_text}\n/* {wide_text} */\n")), 2);
    assert_eq!(found("a.js", format!("// {wide_text}\n")), 1);
    assert_eq!(found("a.yaml", format!("key: 1  # {wide_text}\n")), 1);
    assert_eq!(found("Makefile", format!("# {wide_text}\n\t{wide_text}\n")), 1);
    assert_eq!(found("a.py", format!("\"\"\"Short.\n\n{wide_text}\n\"\"\"\nx = [{wide_text}]\n# {wide_text}\n")), 2);
    assert_eq!(found("a.md", format!("{wide_text}\n- {wide_text}\n| {wide_text} |\n```\n{wide_text}\n```\n")), 2);
    assert_eq!(found("a.md", format!("# {}\n", "ä".repeat(98))), 0, "columns are characters");
}
