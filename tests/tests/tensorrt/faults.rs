//! Folders that must not be loaded: every way in which a file, the manifest, its signature or an engine can be something else, each refused with its reason.

mod engines;
mod files;
mod manifests;

use super::ride::{on_gpu, real_graphs, warm};
use super::{Case, library};
use drivewam_core::Error;
use drivewam_core::manifest::{FILE_NAME, Family};
use drivewam_engine::tensorrt::fake::FakeTensorRt;
use drivewam_tests::fake_engines::Made;
use drivewam_tests::signing;
use std::fs;
use std::path::Path;

pub(crate) const CASES: [Case; 2] = [
    Case { name: "folders that are refused by TensorRT", machine: &[], body: || all(Family::Tensorrt) },
    Case { name: "folders that are refused by TensorRT-RTX", machine: &[], body: || all(Family::TensorrtRtx) },
];

/// What is wrong: before the folder is written, after that, and in the configuration.
struct Fault {
    name: &'static str,
    make: fn(&mut Made),
    spoil: fn(&Path),
    set: &'static str,
    words: &'static [&'static str],
}

const NOTHING: Fault = Fault { name: "", make: |_| {}, spoil: |_| {}, set: "{}", words: &[] };
const DIT: &str = "dit.engine";

/// Changes a file of the folder.
fn edit(folder: &Path, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let mut content = fs::read(folder.join(name)).unwrap();
    change(&mut content);
    fs::write(folder.join(name), content).unwrap();
}

/// Replaces words of the manifest's text, and nothing else.
fn reword(folder: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(folder.join(FILE_NAME)).unwrap();
    assert!(text.contains(from), "{from:?} is not in the manifest");
    fs::write(folder.join(FILE_NAME), text.replacen(from, to, 1)).unwrap();
}

#[cfg(unix)]
fn mode(path: &Path, bits: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(bits)).unwrap();
}

#[cfg(unix)]
fn link(folder: &Path, name: &str) {
    fs::rename(folder.join(name), folder.join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(folder.join("elsewhere"), folder.join(name)).unwrap();
}

fn refusal(family: Family, fault: &Fault) -> Option<Error> {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("engines");
    let mut made = Made::new(family);
    (fault.make)(&mut made);
    made.write(&folder);
    (fault.spoil)(&folder);
    let refused = warm(on_gpu(family, &folder, fault.set)).err();
    #[cfg(unix)]
    mode(&folder, 0o755);
    refused
}

fn all(family: Family) {
    let faults: Vec<Fault> =
        [files::of_files(), manifests::of_manifests(), manifests::of_words(), engines::of_engines(), files::of_signatures()]
            .into_iter()
            .flatten()
            .collect();
    println!("    {} faults", faults.len());
    assert!(faults.len() >= 60);
    FakeTensorRt::open(&library(family)).unwrap().execute(real_graphs()).unwrap();
    let mut failed = Vec::new();
    for fault in &faults {
        match refusal(family, fault) {
            None => failed.push(format!("{}: taken", fault.name)),
            Some(error) => {
                let text = error.to_string();
                if let Some(word) = fault.words.iter().find(|word| !text.contains(**word)) {
                    failed.push(format!("{}: {word:?} is missing in {text:?}", fault.name));
                }
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    // What is whole is taken: nothing above was refused for another reason than its own.
    assert!(refusal(family, &Fault { spoil: |d| signing::sign(d, 1), set: signing::TRUSTED, ..NOTHING }).is_none());
}
