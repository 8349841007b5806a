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

/// Breaks when folders of two lengths, cameras or kinds are mixed, or when a folder that is no
/// drive is removed.
#[test]
fn a_rerun_continues_the_same_drives_and_refuses_other_options() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("worlds");
    let world = |seeds: &str, more: &[&str]| {
        let usual = [["--seeds", seeds], ["--seconds", "2"], ["--camera-hz", "2"], ["--out", out.to_str().unwrap()]];
        let kept = usual.iter().filter(|[option, _]| !more.contains(option)).flatten().copied();
        drivewam(&["world"].into_iter().chain(kept).chain(more.iter().copied()).collect::<Vec<_>>())
    };
    assert!(world("3..5", &[]).status.success());
    let done = world("3..6", &["--json"]);
    assert!(done.status.success() && out.join("000005").is_dir(), "{done:?}");
    for (more, words) in [
        (vec!["--seconds", "3"], vec!["000003", "got 21 poses", "wanted 31"]),
        (vec!["--camera-hz", "5"], vec!["000003", "got 5 frames", "wanted 11"]),
        (vec!["--width", "56"], vec!["got width: 112", "wanted width: 56"]),
        (vec!["--kind", "memory"], vec!["got stretches: mixed", "wanted stretches: memory"]),
        (vec!["--disturb"], vec!["got disturb: false", "wanted disturb: true"]),
        (vec!["--frames", "rgb8"], vec!["got format: files", "wanted format: rgb8"]),
        (vec!["--plans"], vec!["got without plans.f32"]),
    ] {
        let done = world("0..9", &more);
        let text = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.code() == Some(1) && words.iter().all(|word| text.contains(word)), "{more:?}: {text}");
    }
    std::fs::create_dir(out.join("000007")).unwrap();
    std::fs::write(out.join("000007/letter"), "dear").unwrap();
    let done = world("7..9", &[]);
    assert!(done.status.code() == Some(1) && String::from_utf8_lossy(&done.stderr).contains("not a whole drive"), "{done:?}");
    let mut names: Vec<_> = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["000003", "000004", "000005", "000007"], "nothing else was written");
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
