//! The files that a kernel shows, below a root. Reading is bounded, and what is there and cannot be read is kept in words.
//!
//! The root is `/` in life and a recorded tree in a test. Content is taken as hostile: every length has a bound, text is freed of control
//! characters, and only regular files are opened, so that a pipe in the place of a file stops nobody.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Bytes that a file with one value may have.
const VALUE_BYTES: u64 = 4096;
/// Bytes that are read of a file with a table; what follows is not looked at.
const TABLE_BYTES: u64 = 1024 * 1024;
/// Characters of a text that are kept.
const SHOWN: usize = 160;
/// Entries of a folder that are looked at.
const ENTRIES: usize = 8192;
/// What is unreadable is listed up to here, then counted.
const NOTES: usize = 64;

/// A root, what below it is not there, and what could not be read.
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

    /// Whether this is the machine that runs the program, and not a recorded one.
    pub(super) fn is_live(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Where `path`, which is relative to the root, lies.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// Reads a group of values. One of which nothing is `found`, and nothing was there that failed, is absent.
    pub(super) fn group<T>(&mut self, group: &'static str, read: impl FnOnce(&mut Self) -> T, found: impl FnOnce(&T) -> bool) -> T {
        let notes = self.unreadable.len() + self.unlisted;
        let value = read(self);
        if !found(&value) && self.unreadable.len() + self.unlisted == notes {
            self.absent.push(group);
        }
        value
    }

    /// The start of a file with lines; `None` where there is no such file, or where it cannot be read, which is noted.
    pub(super) fn table(&mut self, what: &str, path: &str) -> Option<String> {
        self.read(what, path, TABLE_BYTES)
    }

    /// The first line of a file with one value, without what surrounds it; `None` as for [`Tree::table`]. Nothing at all, or far too much,
    /// is noted.
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

    /// A file with one number; `None` as for [`Tree::line`]. Something else is noted.
    pub(super) fn number<T: FromStr>(&mut self, what: &str, path: &str) -> Option<T> {
        let line = self.line(what, path)?;
        let number = line.parse().ok();
        if number.is_none() {
            self.note(what, path, &format!("no number: {line:?}"));
        }
        number
    }

    /// The names in a folder that are `wanted`, with `a2` before `a10`; none where there is no such folder, or where it cannot be read, which
    /// is noted.
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

    /// Keeps that `path` is there and says nothing usable.
    pub(super) fn note(&mut self, what: &str, path: &str, why: &str) {
        self.keep(&format!("{what} (/{path}): {why}"));
    }

    /// Keeps a whole sentence.
    pub(super) fn keep(&mut self, sentence: &str) {
        if self.unreadable.len() < NOTES {
            // Two texts of their own bound, and words around them.
            self.unreadable.push(bounded(sentence, 3 * SHOWN));
        } else {
            self.unlisted += 1;
        }
    }

    /// The groups that are absent, and what could not be read.
    pub(super) fn into_words(mut self) -> (Vec<&'static str>, Vec<String>) {
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

/// A text that can be shown: one line, without control characters, of bounded length.
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
