//! A folder is refused for every way in which its files can differ from the manifest.

use super::*;
use drivewam_core::manifest::{FILE_NAME, Role};
use std::fs;

/// A folder of the closed-form engine's making, on a disk.
fn on_disk() -> tempfile::TempDir {
    let folder = crate::closed_form::folder(&crate::tests::tiny()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for (name, _) in folder.files() {
        fs::write(dir.path().join(name), folder.content(name).unwrap().as_slice()).unwrap();
    }
    fs::write(dir.path().join(FILE_NAME), serde_saphyr::to_string(folder.manifest()).unwrap()).unwrap();
    dir
}

/// The file that the cases spoil.
const VICTIM: &str = "commands.safetensors";

fn spoil(dir: &Path, f: impl FnOnce(&mut Vec<u8>)) {
    let mut content = fs::read(dir.join(VICTIM)).unwrap();
    f(&mut content);
    fs::write(dir.join(VICTIM), content).unwrap();
}

#[test]
fn a_whole_folder_opens_with_its_files_and_texts_and_reports_every_byte() {
    let dir = on_disk();
    let mut told = Vec::new();
    let folder = Folder::open(dir.path(), &Trust::default(), Some(&mut |done, all| told.push((done, all)))).unwrap();
    let all: u64 = folder.files().map(|(_, entry)| entry.bytes).sum();
    assert_eq!(told.last(), Some(&(all, all)));
    assert!(told.windows(2).all(|w| w[0].0 <= w[1].0));
    let text = folder.text(Command::Left).unwrap();
    assert_eq!(text.values.len(), text.rows * folder.manifest().model.text.dim);
    assert_eq!(folder.content(VICTIM).unwrap().as_slice(), fs::read(dir.path().join(VICTIM)).unwrap());
    assert!(folder.content(FILE_NAME).is_err(), "the manifest vouches for itself");
    assert!(Folder::verify(dir.path(), &Trust::default(), None).is_whole());
}

#[test]
fn what_was_hashed_is_what_is_loaded_whatever_happens_to_the_disk_afterwards() {
    let dir = on_disk();
    let before = fs::read(dir.path().join(VICTIM)).unwrap();
    let folder = Folder::open(dir.path(), &Trust::default(), None).unwrap();
    fs::write(dir.path().join(VICTIM), "something else").unwrap();
    assert_eq!(folder.content(VICTIM).unwrap().as_slice(), before);
}

#[test]
fn every_spoilt_file_is_refused_with_its_name_and_what_was_got_and_wanted() {
    struct Case {
        name: &'static str,
        spoil: fn(&Path),
        words: &'static [&'static str],
    }
    let cases = [
        Case { name: "truncated", spoil: |dir| spoil(dir, |c| c.truncate(c.len() - 1)), words: &["not as long", "bytes, wanted"] },
        Case { name: "longer", spoil: |dir| spoil(dir, |c| c.push(0)), words: &["not as long", "bytes, wanted"] },
        Case { name: "one flipped bit", spoil: |dir| spoil(dir, |c| c[100] ^= 1), words: &["SHA-256", "wanted SHA-256"] },
        Case { name: "missing", spoil: |dir| fs::remove_file(dir.join(VICTIM)).unwrap(), words: &["missing"] },
        Case {
            name: "a folder",
            spoil: |dir| {
                fs::remove_file(dir.join(VICTIM)).unwrap();
                fs::create_dir(dir.join(VICTIM)).unwrap();
            },
            words: &["not a plain file", "a folder"],
        },
        #[cfg(unix)]
        Case {
            name: "a link to the right content",
            spoil: |dir| {
                fs::rename(dir.join(VICTIM), dir.join("elsewhere")).unwrap();
                std::os::unix::fs::symlink(dir.join("elsewhere"), dir.join(VICTIM)).unwrap();
            },
            words: &["not a plain file", "a symbolic link"],
        },
        #[cfg(unix)]
        Case {
            name: "an endless device",
            spoil: |dir| {
                fs::remove_file(dir.join(VICTIM)).unwrap();
                std::os::unix::fs::symlink("/dev/zero", dir.join(VICTIM)).unwrap();
            },
            words: &["not a plain file"],
        },
        #[cfg(unix)]
        Case {
            name: "a socket",
            spoil: |dir| {
                fs::remove_file(dir.join(VICTIM)).unwrap();
                std::os::unix::net::UnixListener::bind(dir.join(VICTIM)).unwrap();
            },
            words: &["not a plain file", "a pipe, socket or device"],
        },
    ];
    let mut failed = Vec::new();
    for case in &cases {
        let dir = on_disk();
        (case.spoil)(dir.path());
        let error = Folder::open(dir.path(), &Trust::default(), None).unwrap_err();
        let report = Folder::verify(dir.path(), &Trust::default(), None);
        let faults = report.files.iter().filter(|f| matches!(f.status, FileStatus::Fault(_))).count();
        let text = error.to_string();
        let same = report.into_first_fault().map(|e| e.to_string());
        let complete = error.kind() == ErrorKind::Manifest && text.contains(VICTIM) && case.words.iter().all(|word| text.contains(word));
        if !complete || faults != 1 || same.as_ref() != Some(&text) {
            failed.push(format!("{}: {text} / {same:?}", case.name));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn a_bad_manifest_is_refused_before_any_file_is_read() {
    let long = "x".repeat((4 << 20) + 1);
    for (content, word) in [
        (None, "no manifest"),
        (Some(&b"schema: ["[..]), "manifest.yaml"),
        (Some(&b"\xff\xfe"[..]), "UTF-8"),
        (Some(long.as_bytes()), "too long"),
    ] {
        let dir = on_disk();
        match content {
            Some(content) => fs::write(dir.path().join(FILE_NAME), content).unwrap(),
            None => fs::remove_file(dir.path().join(FILE_NAME)).unwrap(),
        }
        let mut calls = 0;
        let error = Folder::open(dir.path(), &Trust::default(), Some(&mut |_, _| calls += 1)).unwrap_err();
        assert!(error.to_string().contains(word) && error.kind() == ErrorKind::Manifest, "{error}");
        assert_eq!(calls, 0);
        assert!(!Folder::verify(dir.path(), &Trust::default(), None).is_whole());
    }
}

#[test]
fn verify_goes_on_after_a_fault_and_names_files_that_nothing_vouches_for() {
    let dir = on_disk();
    fs::write(dir.path().join("stray.onnx"), "x").unwrap();
    let names: Vec<String> = Folder::open(dir.path(), &Trust::default(), None).unwrap().files().map(|(name, _)| name.to_owned()).collect();
    for name in &names {
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    let report = Folder::verify(dir.path(), &Trust::default(), None);
    let faults = report.files.iter().filter(|f| matches!(f.status, FileStatus::Fault(_))).count();
    assert_eq!(faults, names.len());
    let last = report.files.last().unwrap();
    assert!(last.name == "stray.onnx" && matches!(last.status, FileStatus::Unvouched), "{last:?}");
}

#[test]
fn a_text_of_another_shape_or_with_a_nan_is_refused() {
    let folder = crate::closed_form::folder(&crate::tests::tiny()).unwrap();
    let spoilt = |f: &dyn Fn(&mut Manifest, &mut Vec<u8>)| {
        let mut manifest = folder.manifest().clone();
        let mut files = BTreeMap::new();
        for (name, _) in folder.files() {
            files.insert(name.to_owned(), folder.content(name).unwrap().as_slice().to_vec());
        }
        let mut content = files.remove(VICTIM).unwrap();
        f(&mut manifest, &mut content);
        manifest.files.insert(VICTIM.into(), crate::folder::vouch(&content, Role::Commands));
        files.insert(VICTIM.into(), content);
        let files = files.into_iter().map(|(name, content)| (name, Bytes::copy_of(&content).unwrap())).collect();
        Folder::in_memory(manifest, files).unwrap_err().to_string()
    };
    let text = spoilt(&|manifest, _| *manifest.commands.rows.get_mut(&Command::Left).unwrap() += 1);
    assert!(text.contains("wrong shape") && text.contains("left"), "{text}");
    let text = spoilt(&|_, content| {
        let end = content.len();
        content[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    assert!(text.contains("not finite"), "{text}");
    let text = spoilt(&|_, content| content.truncate(4));
    assert!(text.contains("not a safetensors file"), "{text}");
}
