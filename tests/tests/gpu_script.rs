//! Tests `tests/gpu/run.sh` with shell scripts in place of the GPU tools and Python, because time
//! on a real GPU is too expensive to find errors of the script there.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

fn script(folder: &Path, name: &str, body: &str) {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
}

/// Runs the script with the programs in `folder` first in PATH. Returns its output, and the report
/// if there is one.
fn run(folder: &Path) -> (Output, Option<String>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let report = folder.join("report.txt");
    let kernels = folder.join("kernels");
    fs::create_dir_all(&kernels).unwrap();
    fs::write(kernels.join("kernels.yaml"), "schema: 1\ncompiler: a test\ncuda:\n- 12\n- 6\nsources_sha256: abc\n").unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let done = Command::new(root.join("tests/gpu/run.sh"))
        .arg(&report)
        .env("PATH", path)
        .env("DRIVEWAM_GPU", folder.join("drivewam-gpu"))
        .env("DRIVEWAM_BUILD_ENGINES", folder.join("build_engines"))
        .env("DRIVEWAM_KERNELS", &kernels)
        .env("DRIVEWAM_TENSORRT", folder.join("libnvinfer.so.10"))
        .env("PYTHON", folder.join("python"))
        .output()
        .unwrap();
    (done, fs::read_to_string(report).ok())
}

/// Breaks if a failed part counts as passed, stops the others or loses the report, or a sanitizer
/// that could not run counts as passed.
#[test]
fn every_part_is_in_the_report_whether_or_not_others_failed() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path();
    script(folder, "nvidia-smi", "echo a fake");
    script(
        folder,
        "drivewam-gpu",
        "case \"$*\" in *bench*) echo '{\"figures\": 1}';; *suite*) echo '84 of 84 passed';; *ride*) echo rode;; esac",
    );
    script(folder, "build_engines", "while [ \"$1\" != --out ]; do shift; done; mkdir -p \"$2\"; touch \"$2/manifest.yaml\"; echo built");
    script(folder, "python", "echo 'ours 1.0 x'");
    script(folder, "ncu", "echo '==PROF== at work'; echo counted; while [ \"$1\" != --kernels ]; do shift; done; echo \"$3\"");
    // The program to check follows after the options.
    script(
        folder,
        "compute-sanitizer",
        "case $2 in memcheck) shift 4; exec \"$@\";; racecheck) echo 'a hazard'; exit 86;; *) echo refused; exit 1;; esac",
    );

    let (done, report) = run(folder);
    let report = report.unwrap();
    assert_eq!(done.status.code(), Some(1), "{report}");
    for words in [
        "compiler: a test\ncuda:\n- 12\n- 6\nsources_sha256: abc",
        "== conformance suite\n84 of 84 passed\n-- passed",
        "ours 1.0 x\n-- passed\n{\"figures\": 1}",
        "== Nsight Compute\ncounted\nbench\n-- passed",
        "== compute-sanitizer, memcheck\n84 of 84 passed\n-- passed",
        "== compute-sanitizer, racecheck\na hazard\n-- FAILED: it found errors",
        "== compute-sanitizer, initcheck\nrefused\n-- incomplete: exit status 1",
        "built\n-- passed",
        "rode\n-- passed",
        "at least one part FAILED",
    ] {
        assert!(report.contains(words), "{words:?} is missing in\n{report}");
    }

    script(folder, "compute-sanitizer", "shift 4; exec \"$@\"");
    let (done, report) = run(folder);
    assert_eq!(done.status.code(), Some(0));
    assert!(report.unwrap().ends_with("all passed\n"));

    script(folder, "drivewam-gpu", "echo 'device error'; exit 1");
    let (done, report) = run(folder);
    assert_eq!(done.status.code(), Some(1));
    assert!(report.unwrap().contains("device error\n-- FAILED, exit status 1"));
}

/// Breaks if a machine without a GPU gets a report, or an old one is lost.
#[test]
fn without_a_gpu_nothing_is_run_and_an_old_report_stays() {
    let temp = tempfile::tempdir().unwrap();
    script(temp.path(), "nvidia-smi", "exit 9");
    fs::write(temp.path().join("report.txt"), "an old report").unwrap();
    let (done, report) = run(temp.path());
    assert_eq!(done.status.code(), Some(77));
    assert!(String::from_utf8_lossy(&done.stderr).contains("did not run: no NVIDIA GPU"));
    assert_eq!(report.unwrap(), "an old report");
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 3, "something was left behind");
}
