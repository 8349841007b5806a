//! Engine folders that must not be loaded: faults of files, manifests, signatures and engines, each
//! refused with its reason.

mod engines;
mod files;
mod manifests;

use super::ride::{on_gpu, real_graphs, warm};
use super::{Case, library};
use drivewam_core::Error;
use drivewam_core::manifest::{FILE_NAME, Family};
use drivewam_engine::tensorrt::fake::FakeTensorRt;
use drivewam_tests::fake_engines::FakeBundle;
use drivewam_tests::signing;
use std::fs;
use std::path::Path;

pub(crate) const CASES: [Case; 2] = [
    Case { name: "folders that are refused by TensorRT", machine: &[], body: || all(Family::Tensorrt) },
    Case { name: "folders that are refused by TensorRT-RTX", machine: &[], body: || all(Family::TensorrtRtx) },
];

/// A fault: changes before the folder is written (`make`), after it (`corrupt`) and of the
/// configuration (`set`), and the expected words of the error.
struct Fault {
    name: &'static str,
    make: fn(&mut FakeBundle),
    corrupt: fn(&Path),
    set: &'static str,
    words: &'static [&'static str],
}

const NOTHING: Fault = Fault { name: "", make: |_| {}, corrupt: |_| {}, set: "{}", words: &[] };
const DIT: &str = "dit.engine";

/// Changes the content of a file.
fn edit(folder: &Path, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let mut content = fs::read(folder.join(name)).unwrap();
    change(&mut content);
    fs::write(folder.join(name), content).unwrap();
}

/// Replaces the first `from` in the manifest's text.
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
    let mut made = FakeBundle::new(family);
    (fault.make)(&mut made);
    made.write(&folder);
    (fault.corrupt)(&folder);
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
            None => failed.push(format!("{}: accepted", fault.name)),
            Some(error) => {
                let text = error.to_string();
                if let Some(word) = fault.words.iter().find(|word| !text.contains(**word)) {
                    failed.push(format!("{}: {word:?} is missing in {text:?}", fault.name));
                }
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    // A valid folder is accepted, so the folders above were refused for their own faults.
    assert!(refusal(family, &Fault { corrupt: |d| signing::sign(d, 1), set: signing::TRUSTED, ..NOTHING }).is_none());
}
