//! A library that records NVTX calls in place of a profiler (`nvtx_listener.c`). A test of
//! `tools/profile_latency` includes this file too.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The compiled library and the file that it writes.
pub struct NvtxListener {
    library: PathBuf,
    log: PathBuf,
}

/// The NVTX ranges of one thread.
#[derive(Debug, Default)]
pub struct Thread {
    /// The thread's name.
    pub name: String,
    /// Ranges in the order in which they were opened, each with its parents: `chunk/video`.
    pub ranges: Vec<String>,
    number: String,
    open: Vec<String>,
}

impl NvtxListener {
    /// Compiles the library in `folder`.
    pub fn new(folder: &Path) -> Self {
        let (source, library) = (folder.join("nvtx_listener.c"), folder.join("nvtx_listener.so"));
        std::fs::write(&source, include_str!("nvtx_listener.c")).unwrap();
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
        let done = Command::new(compiler).args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Self { library, log: folder.join("nvtx_listener.txt") }
    }

    /// Sets the environment that makes `command` load the library.
    pub fn attach<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("NVTX_INJECTION64_PATH", &self.library).env("DRIVEWAM_TEST_RANGES", &self.log)
    }

    /// The recorded ranges by thread, in the order of the threads' first calls.
    ///
    /// Panics if a range is closed without being open, is left open, has no registered name or
    /// another domain, or if a name is registered after the first range.
    pub fn threads(&self) -> Vec<Thread> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_else(|e| panic!("no NVTX calls were recorded: {e}"));
        let mut threads: Vec<Thread> = Vec::new();
        for (i, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split(' ').collect();
            let [what, domain, number, thread, word] = words[..] else { panic!("line {i}: {line:?}") };
            assert_eq!(domain, "drivewam", "line {i}: {line:?}");
            if what == "name" {
                assert!(threads.is_empty(), "line {i}: a name was registered after Warm: {line:?}");
                continue;
            }
            let at = threads.iter().position(|t| t.number == number).unwrap_or_else(|| {
                threads.push(Thread { name: thread.to_owned(), number: number.to_owned(), ..Thread::default() });
                threads.len() - 1
            });
            let of = &mut threads[at];
            match what {
                "push" => {
                    assert_ne!(word, "?", "line {i}: a range without a registered name");
                    of.open.push(word.to_owned());
                    of.ranges.push(of.open.join("/"));
                }
                "pop" => assert!(of.open.pop().is_some(), "line {i}: no range is open: {line:?}"),
                _ => panic!("line {i}: {line:?}"),
            }
        }
        for thread in &threads {
            assert!(thread.open.is_empty(), "left open: {thread:?}");
        }
        threads
    }
}
