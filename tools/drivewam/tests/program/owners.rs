//! Outputs of one user in the way of another's drive: whether the output can be put in its place is
//! decided before the drive, and nobody's files are touched.

use super::lab::stderr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_drivewam");

/// A command as a user who owns nothing here.
fn as_stranger(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", program]);
    command
}

fn drive(mut command: Command, out: &Path) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    command.args(["drive", "--seconds", "5", "--chunks", "1", "--overlays", "1", "--set", "guidance.mode=off", "--out"]);
    command.arg(out).current_dir(root).output().unwrap()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Breaks if a stranger's drive runs for an hour and then cannot be put in its place, replaces what
/// belongs to another user, or is locked out by a lock that a killed drive left.
#[test]
fn outputs_of_another_user_are_refused_before_the_drive() {
    if !as_stranger(PROGRAM).arg("--version").output().is_ok_and(|done| done.status.success()) {
        println!("skipped: this user may not become another one that can run the program");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    set_mode(dir.path(), 0o755);
    let [closed, sticky, open] = ["closed", "sticky", "open"].map(|name| dir.path().join(name));
    for (folder, mode) in [(&closed, 0o755), (&sticky, 0o1777), (&open, 0o777)] {
        fs::create_dir(folder).unwrap();
        set_mode(folder, mode);
    }
    let mine = |folder: &Path| {
        let out = folder.join("mine");
        let done = drive(Command::new(PROGRAM), &out);
        assert!(done.status.success(), "{}", stderr(&done));
        out
    };
    let (in_closed, in_sticky) = (mine(&closed), mine(&sticky));
    set_mode(&in_closed, 0o777);
    for (out, words) in [
        (closed.join("new"), vec!["--out", "Permission denied"]),
        // Its files may be renamed by anyone, the folder of overlays may not.
        (in_closed.clone(), vec!["overlay", "belongs to another user and cannot be replaced"]),
        (in_sticky.clone(), vec!["belongs to another user, and the folder above it has the sticky bit"]),
    ] {
        let done = drive(as_stranger(PROGRAM), &out);
        let text = stderr(&done);
        assert_eq!(done.status.code(), Some(1), "{out:?}: {text}");
        for word in words {
            assert!(text.contains(word), "{out:?}: {word:?} is missing in {text}");
        }
    }
    for former in [&in_closed, &in_sticky] {
        assert!(former.join("summary.json").exists() && former.join("overlay/000000.png").exists(), "{former:?} is whole");
    }
    fs::write(open.join(".new.lock"), "").unwrap();
    let done = drive(as_stranger(PROGRAM), &open.join("new"));
    assert!(done.status.success() && open.join("new/summary.json").exists(), "{}", stderr(&done));
}
