//! `world`.

use super::lab::drivewam;

#[test]
fn world_writes_folders_and_says_how_many() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("worlds");
    let done = drivewam(&["world", "--seeds", "3..5", "--seconds", "2", "--out", out.to_str().unwrap(), "--json"]);
    assert!(done.status.success(), "{done:?}");
    assert!(String::from_utf8_lossy(&done.stdout).contains("\"drives\":2"));
    assert!(out.join("000004/frames/000020.png").exists());
}

#[test]
fn a_wrong_option_is_refused_with_what_was_got_and_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().to_str().unwrap();
    for (args, words) in [
        (vec!["world", "--seeds", "5..3", "--out", out], vec!["5..3"]),
        (vec!["world", "--seeds", "0..1", "--camera-hz", "3", "--out", out], vec!["camera_hz", "got 3", "1, 2, 5 or 10"]),
        (vec!["world", "--seeds", "0..1", "--width", "5", "--out", out], vec!["--width", "got 5"]),
        (vec!["world", "--seeds", "0..1", "--out", "/proc/nowhere"], vec!["io error", "/proc/nowhere"]),
    ] {
        let done = drivewam(&args);
        let text = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(!done.status.success(), "{args:?} must fail");
        for word in words {
            assert!(text.contains(word), "{word:?} is missing in {text}");
        }
    }
}
