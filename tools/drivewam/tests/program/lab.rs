//! A temporary folder with everything that a drive needs, for tests to damage.

use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The root of the workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Runs the program.
pub fn drivewam<S: AsRef<std::ffi::OsStr>>(args: &[S]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_drivewam")).args(args).output().unwrap()
}

/// Standard error as text.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Engines, configuration and input of a drive.
pub struct Lab {
    dir: tempfile::TempDir,
}

impl Lab {
    /// A copy of the shipped engines, a configuration that names it, and a simulated drive of 6 s
    /// as an input folder.
    pub fn new() -> Self {
        let lab = Self { dir: tempfile::tempdir().unwrap() };
        let engines = workspace().join("engines/tiny");
        fs::create_dir(lab.path("engines")).unwrap();
        for entry in fs::read_dir(&engines).unwrap_or_else(|e| panic!("{engines:?}: {e}")) {
            let path = entry.unwrap().path();
            fs::copy(&path, lab.path("engines").join(path.file_name().unwrap())).unwrap();
        }
        let shipped = workspace().join("configs/tiny.yaml");
        lab.write("config.yaml", format!("extends: [{}]\nengine: {{folder: engines}}\n", shipped.display()));
        let worlds = lab.path("worlds");
        let world = drivewam(&["world", "--seeds", "5..6", "--seconds", "6", "--camera-hz", "2", "--out", worlds.to_str().unwrap()]);
        assert!(world.status.success(), "{world:?}");
        fs::rename(worlds.join("000005"), lab.path("input")).unwrap();
        fs::remove_dir(worlds).unwrap();
        lab
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Replaces the first `from` of a file by `to`.
    pub fn replace(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "{name} has no {from:?}");
        self.write(name, text.replacen(from, to, 1));
    }

    /// Changes the bytes of a file of the engine folder, and its hash in the manifest to match.
    pub fn forge(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let file = format!("engines/{name}");
        let mut bytes = fs::read(self.path(&file)).unwrap();
        let hash = |bytes: &[u8]| Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect::<String>();
        let before = hash(&bytes);
        change(&mut bytes);
        self.replace("engines/manifest.yaml", &before, &hash(&bytes));
        fs::write(self.path(&file), bytes).unwrap();
    }

    /// Names of all entries of the temporary folder.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(self.dir.path()).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Runs `drive config.yaml --input input --out out`, with more options.
    pub fn drive(&self, more: &[&str]) -> Output {
        self.drive_to("out", more)
    }

    /// The same with `--out` another path.
    pub fn drive_to(&self, out: &str, more: &[&str]) -> Output {
        let [config, input, out] = ["config.yaml", "input", out].map(|name| self.path(name).display().to_string());
        let mut args = vec!["drive", &config, "--input", &input, "--out", &out];
        args.extend_from_slice(more);
        drivewam(&args)
    }
}
