//! Rules for the documents: what the README shows first, and where links lead.

use crate::files::Source;
use std::collections::BTreeMap;
use std::path::Path;

/// Most lines of the README up to the end of its index of documents.
const SCREEN_LINES: usize = 40;
/// Most columns of each of these lines, tables and code too.
const SCREEN_COLUMNS: usize = 100;

/// What is wrong with the first screen of the README: what stands before its second heading is too
/// long or too wide, or does not link each of `pages`.
pub(crate) fn first_screen(readme: &str, pages: &[&str]) -> Vec<String> {
    let mut screen: Vec<&str> = readme.lines().take_while(|line| !line.starts_with("## ")).collect();
    while screen.last().is_some_and(|line| line.is_empty()) {
        screen.pop();
    }
    let mut failures = Vec::new();
    if screen.len() > SCREEN_LINES {
        failures.push(format!("the index ends in line {}, at most {SCREEN_LINES} wanted", screen.len()));
    }
    for (i, line) in screen.iter().enumerate() {
        let columns = line.chars().count();
        if columns > SCREEN_COLUMNS {
            failures.push(format!("line {}: {columns} columns, at most {SCREEN_COLUMNS} wanted", i + 1));
        }
    }
    let screen = screen.join("\n");
    let missing = pages.iter().filter(|page| !screen.contains(&format!("]({page})")));
    failures.extend(missing.map(|page| format!("no link to {page}")));
    failures
}

/// Relative links of `documents` that lead to no file below `root`, or to no heading of one of
/// `documents`.
pub(crate) fn dead_links(documents: &[Source], root: &Path) -> Vec<String> {
    let mut failures = Vec::new();
    for document in documents {
        for (i, link) in links(&document.text) {
            let bad = |what: &str| format!("{}:{}: {link}: {what}", document.path, i + 1);
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let path = if file.is_empty() { document.path.clone() } else { resolved(&document.path, file) };
            let known = documents.iter().find(|other| other.path == path);
            if known.is_none() && !root.join(&path).exists() {
                failures.push(bad("no such file"));
            } else if !heading.is_empty() && known.is_none_or(|other| headings(&other.text).iter().all(|slug| slug != heading)) {
                failures.push(bad("no such heading"));
            }
        }
    }
    failures
}

/// The lines outside of code blocks, with their index.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut code = false;
    text.lines().enumerate().filter(move |(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        code ^= is_fence;
        !(code || is_fence)
    })
}

/// The targets of the links and pictures that are no addresses of the web, with their line.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (i, line) in prose(text) {
        for rest in line.split("](").skip(1) {
            let target = rest.split([')', ' ']).next().unwrap_or_default();
            if !(target.contains("://") || target.starts_with("mailto:")) {
                found.push((i, target));
            }
        }
    }
    found
}

/// The path that `link` names in the document `from`, relative to the repository.
fn resolved(from: &str, link: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

/// The anchors of the headings, as GitHub makes them: letters, digits, `-` and `_` in lower case,
/// `-` for a space, and a number behind the second of the same name.
fn headings(text: &str) -> Vec<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut all = Vec::new();
    for (_, line) in prose(text) {
        let heading = line.trim_start_matches('#');
        if heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let slug: String = heading
            .trim()
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || ['-', '_', ' '].contains(c))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        let times = seen.entry(slug.clone()).or_default();
        all.push(if *times == 0 { slug } else { format!("{slug}-{times}") });
        *times += 1;
    }
    all
}

/// Breaks when a line of a table or of a block is not counted, or a page may be left out.
#[test]
fn a_long_or_wide_first_screen_and_a_page_without_a_link_are_found() {
    let row = "| what | [page](docs/a.md) |\n";
    let rest = "\n## More\n\n[page](docs/b.md)\n";
    let of = |screen: &str| first_screen(&format!("{screen}{rest}"), &["docs/a.md"]);
    assert!(of(&row.repeat(40)).is_empty());
    assert_eq!(of(&row.repeat(41)), ["the index ends in line 41, at most 40 wanted"]);
    assert_eq!(of(&format!("{row}| {} |\n", "x".repeat(97))), ["line 2: 101 columns, at most 100 wanted"]);
    assert_eq!(of(&format!("{row}```sh\n{}\n```\n", "x".repeat(101))).len(), 1);
    assert_eq!(first_screen(&format!("{row}{rest}"), &["docs/a.md", "docs/b.md"]), ["no link to docs/b.md"]);
}

/// Breaks when a link is not looked at, or one that leads somewhere is refused.
#[test]
fn a_link_to_no_file_or_to_no_heading_is_found() {
    let page = Source::new("docs/made/up.md", "# A `b_c`, (d)!\n\n## Same\n## Same\n```sh\n# no heading [x](none.md)\n```\n");
    let good = "[a](../README.md) [b](made/up.md#a-b_c-d), ![c](made/up.md#same) [d](made/up.md#same-1)\n\
        # Own\n[e](#own) [f](https://a.b/c#d)\n";
    let good = Source::new("docs/good.md", good);
    let bad = "[a](none.md) and [b](made/up.md#none)\n| [c](made/up.md#same-2) | [d](#own) | [e](made/up.md#no-heading-x) |\n";
    let bad = Source::new("docs/bad.md", bad);
    let root = super::root();
    let failures = dead_links(&[page, good, bad], &root);
    let found: Vec<&str> = failures.iter().map(|failure| failure.split(": ").nth(1).unwrap()).collect();
    let wanted = ["none.md", "made/up.md#none", "made/up.md#same-2", "#own", "made/up.md#no-heading-x"];
    assert_eq!(found, wanted, "{failures:#?}");
    assert!(failures[0].starts_with("docs/bad.md:1: none.md: no such file") && failures[1].ends_with("no such heading"), "{failures:#?}");
}
