//! Bounded reading of kernel files below a root. Errors are kept as notes.
//!
//! The root is `/`, or a recorded file tree in a test. Content is untrusted: every length is
//! bounded, control characters are replaced, and only regular files are opened, because a pipe
//! would block.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Most bytes of a file with one value.
const VALUE_BYTES: u64 = 4096;
/// Most bytes that are read of a file with a table; the rest is ignored.
const TABLE_BYTES: u64 = 1024 * 1024;
/// Most characters that are kept of a text.
const SHOWN: usize = 160;
/// Most entries of a folder that are visited.
const ENTRIES: usize = 8192;
/// Most notes that are kept; further ones are counted.
const NOTES: usize = 64;

/// A root, the groups that it lacks, and notes of what could not be read.
pub(super) struct Tree<'a> {
    root: &'a Path,
    absent: Vec<&'static str>,
    unreadable: Vec<String>,
    unlisted: usize,
}

impl<'a> Tree<'a> {
    pub(super) fn new(root: &'a Path) -> Tree<'a> {
        Tree { root, absent: Vec::new(), unreadable: Vec::new(), unlisted: 0 }
    }

    /// Whether the root is that of the running machine and not a recorded one.
    pub(super) fn is_live(&self) -> bool {
        self.root == Path::new("/")
    }

    /// The full path of `path`, which is relative to the root.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// Reads a group of values. If nothing is `found` and nothing failed, the group is absent.
    pub(super) fn group<T>(&mut self, group: &'static str, read: impl FnOnce(&mut Self) -> T, found: impl FnOnce(&T) -> bool) -> T {
        let notes = self.unreadable.len() + self.unlisted;
        let value = read(self);
        if !found(&value) && self.unreadable.len() + self.unlisted == notes {
            self.absent.push(group);
        }
        value
    }

    /// The start of a file with many lines; `None` if it is missing or, with a note,
    /// unreadable.
    pub(super) fn table(&mut self, what: &str, path: &str) -> Option<String> {
        self.read(what, path, TABLE_BYTES)
    }

    /// The trimmed first line of a file with one value; `None` as for [`Tree::table`], or with
    /// a note if the file is empty or too long.
    pub(super) fn line(&mut self, what: &str, path: &str) -> Option<String> {
        let text = self.read(what, path, VALUE_BYTES + 1)?;
        if u64::try_from(text.len()).unwrap_or(u64::MAX) > VALUE_BYTES {
            self.note(what, path, &format!("longer than {VALUE_BYTES} bytes"));
            return None;
        }
        let line = clean(text.trim_matches(|c: char| c.is_whitespace() || c == '\0').lines().next().unwrap_or_default());
        if line.is_empty() {
            self.note(what, path, "empty");
            return None;
        }
        Some(line)
    }

    /// The number in a file; `None` as for [`Tree::line`], or with a note if it is not a
    /// number.
    pub(super) fn number<T: FromStr>(&mut self, what: &str, path: &str) -> Option<T> {
        let line = self.line(what, path)?;
        let number = line.parse().ok();
        if number.is_none() {
            self.note(what, path, &format!("not a number: {line:?}"));
        }
        number
    }

    /// The `wanted` names in a folder, with `a2` before `a10`; none if the folder is missing
    /// or, with a note, unreadable.
    pub(super) fn names(&mut self, what: &str, folder: &str, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let entries = match fs::read_dir(self.path(folder)) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Vec::new(),
            Err(e) => {
                self.note(what, folder, &e.to_string());
                return Vec::new();
            }
        };
        let mut names = Vec::new();
        for entry in entries.take(ENTRIES) {
            let entry = match entry {
                Ok(entry) => entry,
                Err(e) => {
                    self.note(what, folder, &e.to_string());
                    break;
                }
            };
            if let Some(name) = entry.file_name().to_str()
                && name.len() <= 64
                && name.bytes().all(|byte| byte.is_ascii_graphic())
                && wanted(name)
            {
                names.push(name.to_owned());
            }
        }
        names.sort_by_cached_key(|name| {
            let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
            (stem.to_owned(), name.get(stem.len()..).and_then(|digits| digits.parse::<u64>().ok()), name.clone())
        });
        names
    }

    /// Notes that the content of `path` is unusable.
    pub(super) fn note(&mut self, what: &str, path: &str, why: &str) {
        self.add_note(&format!("{what} (/{path}): {why}"));
    }

    /// Adds a note.
    pub(super) fn add_note(&mut self, sentence: &str) {
        if self.unreadable.len() < NOTES {
            // A note contains up to two bounded texts.
            self.unreadable.push(bounded(sentence, 3 * SHOWN));
        } else {
            self.unlisted += 1;
        }
    }

    /// The absent groups, and the notes.
    pub(super) fn into_notes(mut self) -> (Vec<&'static str>, Vec<String>) {
        if self.unlisted > 0 {
            self.unreadable.push(format!("and {} more", self.unlisted));
        }
        (self.absent, self.unreadable)
    }

    fn read(&mut self, what: &str, path: &str, bytes: u64) -> Option<String> {
        match read(&self.path(path), bytes) {
            Ok(text) => Some(text),
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(e) => {
                self.note(what, path, &e.to_string());
                None
            }
        }
    }
}

/// The first `bytes` of a regular file.
fn read(path: &Path, bytes: u64) -> io::Result<String> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "not a file"));
    }
    let mut content = Vec::new();
    File::open(path)?.take(bytes).read_to_end(&mut content)?;
    Ok(String::from_utf8_lossy(&content).into_owned())
}

/// A trimmed text of bounded length without control characters.
pub(super) fn clean(text: &str) -> String {
    bounded(text.trim(), SHOWN)
}

fn bounded(text: &str, characters: usize) -> String {
    let mut shown: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(characters).collect();
    if text.chars().nth(characters).is_some() {
        shown.push('…');
    }
    shown
}
