//! A library that listens to NVTX in the place of a profiler (`listener.c`), and what it heard. Tests of another crate read this file too.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The library in `folder`.
pub struct Listener {
    library: PathBuf,
    heard: PathBuf,
}

/// What one thread said, by its calls.
#[derive(Debug, Default)]
pub struct Thread {
    /// Its name.
    pub name: String,
    /// Ranges in the order in which they were opened, each below those that held it: `chunk/video`.
    pub ranges: Vec<String>,
    number: String,
    open: Vec<String>,
}

impl Listener {
    /// Compiles it.
    pub fn new(folder: &Path) -> Self {
        let (source, library) = (folder.join("listener.c"), folder.join("listener.so"));
        std::fs::write(&source, include_str!("listener.c")).unwrap();
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
        let done = Command::new(compiler).args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Self { library, heard: folder.join("listener.txt") }
    }

    /// Listens to `command`.
    pub fn listen<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("NVTX_INJECTION64_PATH", &self.library).env("DRIVEWAM_TEST_RANGES", &self.heard)
    }

    /// What it heard, by thread in the order of their first words. Fails where a range is closed that was not opened, is left open, has no name or another domain, or
    /// where a name is made known after the first range.
    pub fn heard(&self) -> Vec<Thread> {
        let text = std::fs::read_to_string(&self.heard).unwrap_or_else(|e| panic!("nothing was heard: {e}"));
        let mut threads: Vec<Thread> = Vec::new();
        for (i, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split(' ').collect();
            let [what, domain, number, thread, word] = words[..] else { panic!("line {i}: {line:?}") };
            assert_eq!(domain, "drivewam", "line {i}: {line:?}");
            if what == "name" {
                assert!(threads.is_empty(), "line {i}: a name that is not known in Warm: {line:?}");
                continue;
            }
            let at = threads.iter().position(|t| t.number == number).unwrap_or_else(|| {
                threads.push(Thread { name: thread.to_owned(), number: number.to_owned(), ..Thread::default() });
                threads.len() - 1
            });
            let of = &mut threads[at];
            match what {
                "push" => {
                    assert_ne!(word, "?", "line {i}: a range with something else than a known name");
                    of.open.push(word.to_owned());
                    of.ranges.push(of.open.join("/"));
                }
                "pop" => assert!(of.open.pop().is_some(), "line {i}: nothing is open: {line:?}"),
                _ => panic!("line {i}: {line:?}"),
            }
        }
        for thread in &threads {
            assert!(thread.open.is_empty(), "left open: {thread:?}");
        }
        threads
    }
}
