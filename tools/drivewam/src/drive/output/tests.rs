//! Which places an output takes, what it leaves alone, and what remains of a drive that ends early.

use super::place::{OutputPlace, Placement};
use super::*;
use std::os::unix::fs::{MetadataExt, symlink};

/// The summary of a drive of `chunks`.
fn summary(chunks: u64) -> String {
    format!(r#"{{"schema": 2, "rollouts": 1, "chunks": {chunks}}}"#)
}

fn begin(target: &Path, force: bool) -> Result<OutputDir> {
    OutputDir::begin(&OutputRequest { target, force, protected: &[], need_bytes: 0 })
}

/// Writes a whole drive of `chunks` to `target`.
fn drive(target: &Path, chunks: u64) -> OutputDir {
    let mut out = begin(target, false).unwrap();
    out.write("trajectories.jsonl", &format!("rows of {chunks}")).unwrap();
    out.keep();
    out.write(SUMMARY, &summary(chunks)).unwrap();
    out
}

fn chunks(folder: &Path) -> Option<u64> {
    chunks_of_drive(folder)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = swap::names(folder).unwrap().into_iter().map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn an_unfinished_folder_without_rows_leaves_nothing_not_even_the_folders_above_it() {
    let dir = tempfile::tempdir().unwrap();
    let out = begin(&dir.path().join("a/b/drive"), false).unwrap();
    out.write("x", "y").unwrap();
    drop(out);
    assert_eq!(names(dir.path()), [""; 0]);
}

/// Breaks when a second drive takes the place of a running one: by another path, through a link, or
/// because the first one's lock file lies elsewhere.
#[test]
fn two_drives_do_not_fill_one_folder_by_whatever_path() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("real/drive");
    fs::create_dir_all(&target).unwrap();
    symlink(dir.path().join("real"), dir.path().join("link")).unwrap();
    symlink(&target, dir.path().join("other-name")).unwrap();
    let first = begin(&target, false).unwrap();
    for path in ["real/drive", "link/drive", "other-name", "real/../real/drive"] {
        let error = begin(&dir.path().join(path), false).unwrap_err().to_string();
        assert!(error.contains("another drive is writing to it"), "{path}: {error}");
    }
    // A process that sees the folder as a mount uses another lock file, and the same folder.
    let error = OutputLock::take(target.join(INNER_LOCK), &target).unwrap_err().to_string();
    assert!(error.contains("another drive"), "{error}");
    drop(first);
    begin(&target, false).unwrap().finish().unwrap();
    assert_eq!(names(&dir.path().join("real")), ["drive"], "neither lock nor partial folder remains");
}

/// Breaks when a drive removes what a killed one wrote, or takes its partial folder for its own.
#[test]
fn what_a_killed_drive_wrote_stays_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("drive");
    let left = dir.path().join("drive.partial-killed");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("trajectories.jsonl"), "rows").unwrap();
    let out = begin(&target, false).unwrap();
    assert!(out.remarks().iter().any(|remark| remark.contains("drive.partial-killed")), "{:?}", out.remarks());
    out.finish().unwrap();
    assert_eq!(fs::read_to_string(left.join("trajectories.jsonl")).unwrap(), "rows");
}

#[test]
fn a_former_drive_is_replaced_whole_and_named_and_anything_else_only_by_force() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("drive");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("letter"), "dear").unwrap();
    assert!(begin(&target, false).unwrap_err().to_string().contains("--force"));
    fs::write(target.join(SUMMARY), "{}").unwrap();
    assert!(begin(&target, false).is_err(), "somebody else's summary");
    assert_eq!(names(dir.path()), ["drive"]);
    fs::write(target.join(SUMMARY), summary(7)).unwrap();
    let out = drive(&target, 3);
    assert!(out.remarks().iter().any(|remark| remark.contains("a drive of 7 chunks")), "{:?}", out.remarks());
    assert_eq!((out.former_chunks(), chunks(&target)), (Some(7), Some(7)), "the old one stays until the new one is whole");
    out.finish().unwrap();
    assert_eq!(names(&target), ["overlay", "summary.json", "trajectories.jsonl"]);
    fs::write(target.join(SUMMARY), "not a drive's").unwrap();
    begin(&target, true).unwrap().finish().unwrap();
    assert_eq!((names(&target), names(dir.path())), (vec!["overlay".to_owned()], vec!["drive".to_owned()]));
}

/// Breaks when a pipe in the place of the summary is waited for.
#[test]
fn a_summary_that_is_no_plain_file_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, dir.path().join(SUMMARY), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    assert!(begin(dir.path(), false).unwrap_err().to_string().contains("not the output of a drive"));
}

/// Breaks when a failed drive removes its rows, or those of the drive before it.
#[test]
fn a_failed_drive_takes_an_empty_place_and_leaves_a_former_drive_alone() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("drive");
    assert_eq!(drive(&target, 1).finish_failed().unwrap(), target.canonicalize().unwrap());
    assert_eq!(chunks(&target), Some(1));
    let partial = drive(&target, 2).finish_failed().unwrap();
    assert_eq!((chunks(&target), chunks(&partial)), (Some(1), Some(2)));
    drop(drive(&target, 3));
    assert_eq!(names(dir.path()).len(), 3, "rows stay even where nothing was said: {:?}", names(dir.path()));
}

#[test]
fn what_appeared_in_the_place_meanwhile_is_not_removed_and_the_drive_is_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("drive");
    let out = drive(&target, 4);
    fs::create_dir(&target).unwrap();
    fs::write(target.join("letter"), "dear").unwrap();
    let error = format!("{:#}", out.finish().unwrap_err());
    assert!(error.contains("the drive is whole in") && error.contains("drive.partial-"), "{error}");
    assert_eq!(fs::read_to_string(target.join("letter")).unwrap(), "dear");
    let partial = names(dir.path()).into_iter().find(|name| name.starts_with("drive.partial-")).unwrap();
    assert_eq!(chunks(&dir.path().join(partial)), Some(4));
}

/// Breaks when a link is replaced by a folder, in place of the folder that it names.
#[test]
fn a_link_is_followed_and_a_link_to_nothing_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("disk")).unwrap();
    let link = dir.path().join("link");
    symlink("disk/drive", &link).unwrap();
    let error = begin(&link, false).unwrap_err().to_string();
    assert!(error.contains("disk/drive") && error.contains("does not exist"), "{error}");
    fs::create_dir(dir.path().join("disk/drive")).unwrap();
    drive(&link, 5).finish().unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!((chunks(&link), names(&dir.path().join("disk"))), (Some(5), vec!["drive".to_owned()]));
}

/// Breaks when `--force --out IN` erases a recording, however the two paths are written.
#[test]
fn an_output_never_is_contains_or_lies_in_what_it_must_not_touch() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for folder in ["input/frames", "disk/frames", "configs", "out"] {
        fs::create_dir_all(path(folder)).unwrap();
    }
    symlink(path("input"), path("link")).unwrap();
    symlink(path("disk/frames"), path("input/depth")).unwrap();
    fs::write(path("configs/tiny.yaml"), "").unwrap();
    let mut protected = Protected::folder("the input", &path("link"));
    protected.push(Protected { what: "the configuration", path: path("configs/tiny.yaml") });
    protected.push(Protected { what: "a library", path: path("missing.so") });
    for (out, relation) in [
        ("input", Some("is the input")),
        ("link", Some("is the input")),
        ("out/../input", Some("is the input")),
        ("input/out", Some("lies in the input")),
        ("link/frames/new", Some("lies in the input")),
        ("disk/frames", Some("is the input")),
        ("disk", Some("contains the input")),
        (".", Some("contains the input")),
        ("configs", Some("contains the configuration")),
        ("configs/tiny.yaml", Some("is the configuration")),
        ("configs/out", None),
        ("out", None),
        ("new/drive", None),
    ] {
        let request = OutputRequest { target: &path(out), force: true, protected: &protected, need_bytes: 0 };
        let before = names(&path("input"));
        match (OutputDir::begin(&request), relation) {
            (Ok(_), None) => {}
            (Err(error), Some(relation)) => assert!(error.to_string().contains(relation), "{out}: {error}"),
            (result, _) => panic!("{out}: {result:?}, wanted {relation:?}"),
        }
        assert_eq!(names(&path("input")), before, "{out}");
    }
}

/// Breaks when it is found out after the drive.
#[test]
fn a_place_that_cannot_be_taken_is_refused_at_once_and_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    for (out, need_bytes, words) in [
        ("/".to_owned(), 0, "not a folder name"),
        (String::new(), 0, "not a folder name"),
        ("missing/..".to_owned(), 0, "not a folder name"),
        (dir.path().join("file").display().to_string(), 0, "exists and is not a folder"),
        (dir.path().join("file/drive").display().to_string(), 0, "cannot follow"),
        (dir.path().join("d".repeat(201)).display().to_string(), 0, "got 201 bytes, wanted at most 200"),
        (dir.path().join("drive").display().to_string(), u64::MAX, "too little room"),
        ("/proc/nowhere/drive".to_owned(), 0, "cannot create"),
    ] {
        let error = OutputDir::begin(&OutputRequest { target: Path::new(&out), force: true, protected: &[], need_bytes });
        let error = format!("{:#}", error.err().unwrap_or_else(|| panic!("{out} must be refused")));
        assert!(error.contains(words), "{out}: {error}");
    }
    assert_eq!(names(dir.path()), ["file"]);
    let longest = dir.path().join("d".repeat(200));
    drive(&longest, 1).finish().unwrap();
}

/// A folder that cannot be renamed: its entries change places instead. A mount point is such a
/// folder, which a test may not make; the current folder is another.
#[test]
fn a_folder_that_cannot_be_renamed_is_filled_inside_and_stays_the_same_folder() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("drive");
    fs::create_dir(&target).unwrap();
    fs::create_dir(target.join(LOST_AND_FOUND)).unwrap();
    let inode = fs::metadata(&target).unwrap().ino();
    let inside = |chunks: u64| {
        let partial = target.join(format!("{INNER_PARTIAL}{chunks}"));
        fs::create_dir_all(partial.join("overlay")).unwrap();
        fs::write(partial.join(SUMMARY), summary(chunks)).unwrap();
        let former = target.join(format!("{INNER_FORMER}{chunks}"));
        swap::inside(&partial, &target, &former, chunks > 1, is_ours).unwrap()
    };
    assert_eq!((inside(1), chunks(&target)), (None, Some(1)));
    fs::write(target.join("overlay/000000.png"), "").unwrap();
    assert_eq!((inside(2), chunks(&target)), (None, Some(2)));
    assert_eq!(names(&target), ["lost+found", "overlay", "summary.json"]);
    assert_eq!((names(&target.join("overlay")), fs::metadata(&target).unwrap().ino()), (Vec::new(), inode));
    // An entry that cannot move: all of them stay, those of the former drive and the new ones.
    let partial = target.join(format!("{INNER_PARTIAL}3"));
    fs::create_dir(&partial).unwrap();
    fs::write(partial.join("a"), "").unwrap();
    fs::create_dir(partial.join("b")).unwrap();
    fs::create_dir(target.join(".former-3")).unwrap();
    fs::write(target.join(".former-3/x"), "").unwrap();
    assert!(swap::inside(&partial, &target, &target.join(".former-3"), true, is_ours).is_err());
    assert_eq!((chunks(&target), names(&partial)), (Some(2), vec!["a".to_owned(), "b".to_owned()]));
}

#[test]
fn the_current_folder_is_filled_inside_and_another_one_beside() {
    let current = std::env::current_dir().unwrap();
    assert_eq!(OutputPlace::find(&current, &[]).unwrap().placement, Placement::Inside);
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(OutputPlace::find(dir.path(), &[]).unwrap().placement, Placement::Beside);
    assert_eq!(OutputPlace::find(&dir.path().join("new/er"), &[]).unwrap().placement, Placement::Beside);
    // A mount point that every Linux has.
    if Path::new("/dev/shm").is_dir() {
        let place = OutputPlace::find(Path::new("/dev/shm"), &[]);
        assert_eq!(place.unwrap().placement, Placement::Inside);
    }
}
