//! Emulators compiled from copies of the kernels' sources, with or without a seeded bug, plain or
//! with the sanitizer; and checks that a suite catches every bug of a list.
//!
//! The machine's C++ compiler compiles the copies, as it compiles the kernels themselves, into
//! libraries that the emulator opens.

use crate::conformance::Make;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A seeded bug: a replacement of text in one source file.
#[derive(Debug)]
pub struct Bug {
    /// A description of the bug.
    pub name: &'static str,
    /// The file in `kernels`.
    pub file: &'static str,
    /// The text to replace; it occurs once in the file.
    pub right: &'static str,
    /// The replacement.
    pub wrong: &'static str,
    /// The test that must fail.
    pub test: fn(Make),
}

/// Of each list, the bugs that are compiled and run: all with `long`, else every fourth. That its
/// text is still in the sources is checked of every bug.
const EVERY: usize = if cfg!(feature = "long") { 1 } else { 4 };

impl Bug {
    /// The source with the bug.
    fn seeded(&self) -> String {
        let source = std::fs::read_to_string(sources("kernels").join(self.file)).unwrap();
        assert_eq!(source.matches(self.right).count(), 1, "{}: the source has changed; update the text of this bug", self.name);
        source.replace(self.right, self.wrong)
    }
}

thread_local! {
    static LIBRARY: RefCell<PathBuf> = RefCell::default();
}

/// The library for the devices of this thread.
pub fn library() -> PathBuf {
    LIBRARY.with_borrow(Clone::clone)
}

/// Sets the library for the devices of this thread.
pub fn set_library(path: PathBuf) {
    LIBRARY.with_borrow_mut(|library| *library = path);
}

/// The message of `test` if it fails.
fn failure(test: fn(Make), make: Make) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(|| test(make))).err()?;
    Some(panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default())
}

fn sources(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/device").join(folder)
}

fn compiler() -> Command {
    Command::new(std::env::var("CXX").unwrap_or_else(|_| "c++".into()))
}

fn compile(flags: &[&str], files: &[PathBuf], out: &Path) {
    let common = ["-std=c++17", "-O1", "-fPIC", "-w", "-ffp-contract=off", "-I"];
    let done = compiler().args(common).arg(sources("emulator")).args(flags).args(files).arg("-o").arg(out).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// Builds libraries. The objects without kernels are compiled once.
#[derive(Debug)]
pub struct Build {
    folder: PathBuf,
    objects: Vec<PathBuf>,
    /// Compiler flags of the kernels.
    flags: Vec<&'static str>,
}

impl Build {
    /// Plain emulators in `folder`.
    pub fn plain(folder: &Path) -> Self {
        Self::of(folder, &["emulator.cpp"], Vec::new(), &[])
    }

    /// Plain emulators with the stack switch of ucontext, for machines without our own.
    pub fn ucontext(folder: &Path) -> Self {
        Self::of(folder, &["emulator.cpp"], vec!["-DEMULATOR_UCONTEXT"], &[])
    }

    /// Emulators with the sanitizer. The compiler instruments the kernels for ThreadSanitizer,
    /// whose library is not linked. At -O1 compilers do not merge accesses.
    pub fn sanitizer(folder: &Path) -> Self {
        let version = compiler().arg("--version").output().unwrap().stdout;
        let volatile: &[_] = if String::from_utf8_lossy(&version).contains("clang") {
            &["-mllvm", "-tsan-distinguish-volatile=1"]
        } else {
            &["--param=tsan-distinguish-volatile=1"]
        };
        let instrumented = [&["-g1", "-fsanitize=thread"], volatile].concat();
        Self::of(folder, &["emulator.cpp", "sanitizer.cpp", "hooks.cpp", "finding.cpp"], vec!["-DEMULATOR_SANITIZER", "-O2"], &instrumented)
    }

    fn of(folder: &Path, files: &[&str], flags: Vec<&'static str>, of_kernels: &[&'static str]) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let object = |file: &&str| {
            let out = folder.join(file).with_extension("o");
            compile(&[&flags[..], &["-c"]].concat(), &[sources("emulator").join(file)], &out);
            out
        };
        let objects = files.iter().map(object).collect();
        let defines = flags.into_iter().filter(|flag| flag.starts_with("-D"));
        Self { folder: folder.to_owned(), objects, flags: defines.chain(of_kernels.iter().copied()).chain(["-c"]).collect() }
    }

    /// Builds a library of this name from the kernels, with `bug` if given.
    pub fn library(&self, name: &str, bug: Option<&Bug>) -> PathBuf {
        let [kernels, emulator] = ["kernels", "emulator"].map(|folder| self.folder.join(name).join(folder));
        for folder in [&kernels, &emulator] {
            std::fs::create_dir_all(folder).unwrap();
        }
        for entry in std::fs::read_dir(sources("kernels")).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), kernels.join(entry.file_name())).unwrap();
        }
        let main = emulator.join("kernels.cpp");
        std::fs::copy(sources("emulator").join("kernels.cpp"), &main).unwrap();
        if let Some(bug) = bug {
            std::fs::write(kernels.join(bug.file), bug.seeded()).unwrap();
        }
        let (object, out) = (main.with_extension("o"), self.folder.join(name).join("kernels.so"));
        compile(&self.flags, &[main], &object);
        compile(&["-shared", "-Wl,--no-undefined"], &[&self.objects[..], &[object]].concat(), &out);
        out
    }

    /// Runs the tests of `bugs`, without `long` of every fourth, on unchanged sources. Returns the
    /// first failure. `make` uses [`library`].
    pub fn untouched(&self, bugs: &[Bug], make: Make) -> Option<String> {
        set_library(self.library("untouched", None));
        let mut tests: Vec<fn(Make)> = bugs.iter().step_by(EVERY).map(|bug| bug.test).collect();
        tests.sort_by_key(|test| *test as usize);
        tests.dedup_by(|a, b| std::ptr::fn_addr_eq(*a, *b));
        tests.into_iter().find_map(|test| failure(test, make))
    }

    /// Runs the test of each bug, without `long` of every fourth, with the bug. Returns the bugs
    /// whose test passes, or fails with a message without `says`. `make` uses [`library`].
    pub fn missed(&self, bugs: &[Bug], make: Make, says: &str) -> Vec<String> {
        let run = |(i, bug): (usize, &Bug)| -> Option<String> {
            set_library(self.library(&format!("{}{i}", says.trim_end_matches(": ")), Some(bug)));
            match failure(bug.test, make) {
                None => Some(format!("not caught: {}", bug.name)),
                Some(message) if !message.contains(says) => Some(format!("{}: wanted {says:?}, got: {message}", bug.name)),
                Some(message) => {
                    println!("caught: {}: {}", bug.name, message.lines().next().unwrap_or_default());
                    None
                }
            }
        };
        bugs.iter().for_each(|bug| drop(bug.seeded()));
        let all: Vec<_> = bugs.iter().enumerate().step_by(EVERY).collect();
        std::thread::scope(|scope| {
            let halves = all.chunks(all.len().div_ceil(2)).map(|part| {
                let part = part.to_vec();
                let work = move || part.into_iter().filter_map(run).collect::<Vec<_>>();
                std::thread::Builder::new().name("bugs".into()).spawn_scoped(scope, work).unwrap()
            });
            halves.collect::<Vec<_>>().into_iter().flat_map(|half| half.join().unwrap()).collect()
        })
    }
}
